"""What speaks against the Neural Engine in a CoreML program, with the source of each statement.

Where CoreML runs an operator cannot be known from a file: it decides on the device, by device,
release and sizes. So this is about risk, never about placement.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..formats.coreml_payload import BACKEND
from .graph import Graph, Node, Tensor

Kind = Literal["hard fact", "guidance", "community"]

CAVEAT = (
    "risk, not placement: CoreML decides on the device, by device, release and sizes, what runs "
    "on the Neural Engine"
)
_TYPED = "coremltools guide, Typed Execution"
_RANK = "coremltools: CoreML supports tensors of rank 5 at most"
_TRANSFORMERS = "Apple, Deploying Transformers on the Apple Neural Engine (2022)"
_FLEXIBLE = "coremltools guide, Flexible Input Shapes"
_OBSERVED = "hollance/neural-engine on GitHub: observations, which may be out of date"
_LARGEST_RANK = 5
_ROW = 64  # bytes: the last axis is padded to a multiple
_MOVES = ("reshape", "transpose", "squeeze", "expand_dims")


@dataclass(frozen=True)
class Risk:
    """One statement about `count` operators or tensors, an example of which is named."""

    kind: Kind
    what: str
    count: int
    why: str
    source: str
    example: str


def neural_engine_risks(graph: Graph) -> tuple[Risk, ...] | None:
    """Hard facts first, then guidance, then community lore; None where no part is CoreML's."""
    nodes = _coreml_nodes(graph)
    if not nodes:
        return None
    made = [graph.tensors[index] for node in nodes for index in node.outputs]
    named = [(node, graph.tensors[node.outputs[0]].name) for node in nodes if node.outputs]

    def operators(
        kind: Kind, what: str, why: str, source: str, test: Callable[[Node], bool]
    ) -> Risk:
        found = [name for node, name in named if test(node)]
        return Risk(kind, what, len(found), why, source, found[0] if found else "")

    def tensors(
        kind: Kind, what: str, why: str, source: str, test: Callable[[Tensor], bool]
    ) -> Risk:
        found = [tensor.name for tensor in made if test(tensor)]
        return Risk(kind, what, len(found), why, source, found[0] if found else "")

    risks = (
        operators(
            "hard fact", "operators typed float32", "the Neural Engine computes in float16",
            _TYPED, lambda node: node.operator != "cast" and _is_float32(graph, node),
        ),
        tensors(
            "hard fact", f"tensors of rank above {_LARGEST_RANK}", "they are refused",
            _RANK, lambda tensor: len(tensor.shape or ()) > _LARGEST_RANK,
        ),
        tensors(
            "guidance", "tensors whose sizes are known when it runs",
            "fixed or enumerated sizes are optimised on the device", _FLEXIBLE,
            lambda tensor: tensor.shape is not None and None in tensor.shape,
        ),
        operators(
            "guidance", "linear layers", "a 1x1 convolution on (B,C,1,S) suits it better",
            _TRANSFORMERS, lambda node: node.operator == "linear",
        ),
        operators(
            "guidance", "matrix products", "(B,C,1,S), heads apart, suits it better",
            _TRANSFORMERS, lambda node: node.operator in ("matmul", "einsum"),
        ),
        operators(
            "guidance", "reshapes and transposes", "each may copy its tensor",
            _TRANSFORMERS, lambda node: node.operator in _MOVES,
        ),
        tensors(
            "guidance", f"tensors whose last axis takes less than {_ROW} bytes",
            f"rows are padded to {_ROW} bytes: {_padding(made):.1f} times the bytes of all "
            "activations", _TRANSFORMERS, lambda tensor: 0 < _row(tensor) < _ROW,
        ),
        operators(
            "community", "recurrent layers and gathers", "said to run elsewhere", _OBSERVED,
            lambda node: node.operator in ("lstm", "gru", "rnn")
            or node.operator.startswith("gather"),
        ),
        operators(
            "community", "dilated convolutions", "said to run elsewhere", _OBSERVED,
            lambda node: node.attributes.get("dilations", "[1, 1]").strip("[]1, ") != "",
        ),
    )  # fmt: skip
    return tuple(risk for risk in risks if risk.count)


def _coreml_nodes(graph: Graph) -> list[Node]:
    if graph.format == "CoreML":
        return list(graph.nodes)
    delegates = [partition.delegate for partition in graph.partitions or ()]
    return [
        node
        for node in graph.nodes
        if node.partition is not None and delegates[node.partition] == BACKEND
    ]


def _is_float32(graph: Graph, node: Node) -> bool:
    return any(graph.tensors[index].dtype == "float32" for index in node.outputs)


def _row(tensor: Tensor) -> int:
    """Bytes of the last axis; 0 where they are not known."""
    if not tensor.shape or not tensor.shape[-1] or tensor.bytes is None:
        return 0
    return tensor.bytes // math.prod(n or 1 for n in tensor.shape[:-1])


def _padding(tensors: list[Tensor]) -> float:
    """How many times their bytes the tensors take when each row is padded."""
    rows = [(tensor.bytes or 0, _row(tensor)) for tensor in tensors]
    taken = sum(size for size, row in rows if row)
    padded = sum(size // row * math.ceil(row / _ROW) * _ROW for size, row in rows if row)
    return padded / taken if taken else 1.0
