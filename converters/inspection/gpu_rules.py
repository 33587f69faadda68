"""Operators of a .tflite file that TFLite's GPU delegate refuses, by its published conditions.

From TensorFlow's `lite/tools/versioning/gpu_compatibility.cc`. Passing them promises nothing: a
driver may still refuse a graph, and no GPU has been asked.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .graph import Graph, Node, Tensor

_ELEMENTWISE = {
    "ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "GELU", "LOG", "LOGISTIC", "NEG", "RSQRT",
    "SIGN", "SIN", "SQRT", "SQUARE", "TANH",
}  # fmt: skip
_ONE_COMPUTED_OPERAND = _ELEMENTWISE | {
    "AVERAGE_POOL_2D", "CAST", "DEPTH_TO_SPACE", "HARD_SWISH", "MAX_POOL_2D", "MEAN",
    "MIRROR_PAD", "PAD", "PADV2", "QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD",
    "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SPACE_TO_DEPTH", "SUM", "TILE",
    "TRANSPOSE",
}  # fmt: skip
OPERATORS = _ONE_COMPUTED_OPERAND | {
    "ADD", "ADD_N", "ATAN2", "BATCH_MATMUL", "CONCATENATION", "CONV_2D", "CUMSUM", "DENSIFY",
    "DEPTHWISE_CONV_2D", "DEQUANTIZE", "DIV", "DYNAMIC_UPDATE_SLICE", "EMBEDDING_LOOKUP", "EQUAL",
    "FLOOR_DIV", "FLOOR_MOD", "FULLY_CONNECTED", "GATHER", "GREATER", "GREATER_EQUAL",
    "LEAKY_RELU", "LESS", "LESS_EQUAL", "LOGICAL_AND", "LSTM", "MAXIMUM", "MINIMUM", "MUL",
    "NOT_EQUAL", "ONE_HOT", "PACK", "POW", "PRELU", "RELU", "RELU6", "RELU_N1_TO_1", "SELECT",
    "SELECT_V2", "SLICE", "SOFTMAX", "SPLIT", "SPLIT_V", "SQUARED_DIFFERENCE", "STABLEHLO_CLAMP",
    "STRIDED_SLICE", "SUB", "TRANSPOSE_CONV",
}  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    """Operators of one kind that the GPU delegate refuses for one reason."""

    operator: str
    count: int
    reason: str


def gpu_refusals(graph: Graph) -> tuple[Refusal, ...]:
    """The most frequent first."""
    found = Counter(
        (node.operator, reason)
        for node in graph.nodes
        if (reason := _refused(node, [graph.tensors[i] for i in node.inputs])) is not None
    )
    return tuple(Refusal(kind, count, reason) for (kind, reason), count in found.most_common())


def _refused(node: Node, inputs: list[Tensor]) -> str | None:
    kind = node.operator
    computed = sum(not tensor.constant for tensor in inputs)
    if kind not in OPERATORS:
        return "not an operator of the GPU delegate"
    if kind in _ONE_COMPUTED_OPERAND and computed != 1:
        return f"{computed} operands are computed; one is taken"
    if kind in ("ADD", "MUL") and len(inputs) == 2:
        return _broadcast(kind, inputs[0].shape, inputs[1].shape)
    if kind in ("SLICE", "STRIDED_SLICE") and _rank(inputs) not in (3, 4):
        return f"rank {_rank(inputs)}; 3 and 4 are taken"
    if kind == "FULLY_CONNECTED" and (computed > 2 or not inputs or inputs[0].constant):
        return "its input is constant, or its bias is computed"
    if kind == "SOFTMAX" and float(node.attributes.get("beta", "1")) != 1:
        return "beta is not 1"
    if node.attributes.get("fusedActivationFunction") == "SIGN_BIT":
        return "the activation SIGN_BIT is fused into it"
    return None


def _rank(inputs: list[Tensor]) -> int | None:
    return len(inputs[0].shape) if inputs and inputs[0].shape is not None else None


def _broadcast(
    kind: str, one: tuple[int | None, ...] | None, other: tuple[int | None, ...] | None
) -> str | None:
    """Axes are compared from the last one; MUL wants one operand that is nowhere the smaller."""
    if one is None or other is None:
        return None
    pairs = list(zip(reversed(one), reversed(other), strict=False))
    if len(one) != len(other) and min(len(one), len(other)) > 1:
        if any(a != b and 1 not in (a, b) for a, b in pairs):
            return "shapes that it does not broadcast"
    elif kind == "MUL" and len(one) == len(other):
        sizes = [(a or 0, b or 0) for a, b in pairs]
        if any(a < b for a, b in sizes) and any(a > b for a, b in sizes):
            return "each operand is the smaller one along some axis"
    return None
