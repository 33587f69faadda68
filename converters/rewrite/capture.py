"""From an exported program to a `Network`: weights as constants, nothing written in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node
from torch.utils._pytree import tree_map_only

from .network import Network

_HELD = {
    InputKind.PARAMETER: "state_dict",
    InputKind.BUFFER: "state_dict",
    InputKind.CONSTANT_TENSOR: "constants",
}


class Unsupported(Exception):
    """A graph that cannot be rewritten; the message is the reason, for people."""


def capture(exported: ExportedProgram) -> Network:
    """A network that computes what the program does, with a graph of its own.

    Raises Unsupported for free sizes, for state, and for writes in place that are seen through
    another name of the same memory.
    """
    graph = fx.Graph()
    copies: dict[Node, Node] = {}
    result = graph.graph_copy(exported.graph, copies)
    graph.output(tuple(result))  # type: ignore[arg-type]
    for old, new in copies.items():
        new.meta = dict(old.meta)
    graph.output_node().meta = {}
    for output in exported.graph_signature.output_specs:
        if output.kind is not OutputKind.USER_OUTPUT:
            raise Unsupported(f"the graph writes into '{output.target}'")
    if not all(isinstance(one, Node) for one in result):  # type: ignore[union-attr]
        raise Unsupported("an output is not a tensor")

    constants: dict[str, Tensor] = {}
    placeholders = (node for node in list(graph.nodes) if node.op == "placeholder")
    for spec, node in zip(exported.graph_signature.input_specs, placeholders, strict=True):
        if spec.kind is InputKind.USER_INPUT:
            _check_shape(node)
            continue
        if spec.kind not in _HELD or spec.target is None:
            raise Unsupported(f"the graph has an input of kind {spec.kind.name}")
        held = _held(exported, spec.target)
        name = spec.target.replace(".", "_")
        constants[name] = held.double() if held.is_floating_point() else held
        with graph.inserting_before(node):
            constant = graph.create_node("get_attr", name, (), {}, name=name)
        constant.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(constant)
        graph.erase_node(node)
    for node in graph.nodes:
        if "val" in node.meta:
            node.meta["val"] = tree_map_only(Tensor, _without_memory, node.meta["val"])
    network = Network(graph, constants)
    _make_functional(graph)
    for node in reversed(list(graph.nodes)):
        if not node.users:
            network.remove(node)
    return network


def _without_memory(value: Tensor) -> Tensor:
    return torch.empty(value.shape, dtype=value.dtype, device="meta")


def _held(exported: ExportedProgram, target: str) -> Tensor:
    held = exported.state_dict.get(target)
    if held is None:
        held = exported.constants[target]
    return held.detach()


def _check_shape(node: Node) -> None:
    value = node.meta["val"]
    if not isinstance(value, Tensor):
        raise Unsupported(f"the input '{node.name}' is not a tensor")
    if not all(isinstance(side, int) for side in value.shape):
        raise Unsupported("sizes are free")


def _make_functional(graph: fx.Graph) -> None:
    """Puts `relu` in the place of `relu_`, and lets later readers of its operand read the result.

    The exported graph has the writes of the source, in its order.
    """
    memory: dict[Node, Node] = {}  # a node to the one whose memory it looks into
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        memory[node] = node
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            if node.op == "call_function" and node.args and isinstance(node.args[0], Node):
                memory[node] = memory[node.args[0]]  # an item of a split
            continue
        schema = node.target._schema
        if schema.is_mutable:
            _replace_write(graph, node, memory, order)
        elif any(r.alias_info is not None for r in schema.returns) or _may_be_view(schema.name):
            first = next(iter(node.all_input_nodes), None)
            if first is not None:
                memory[node] = memory[first]


# Composite operators return a view of their operand, or a copy, as its strides have it.
_SOMETIMES_VIEWS = ("reshape", "flatten", "contiguous", "dropout", "type_as", "unflatten", "to")


def _may_be_view(name: str) -> bool:
    return name.removeprefix("aten::") in _SOMETIMES_VIEWS


def _replace_write(
    graph: fx.Graph, node: Node, memory: dict[Node, Node], order: dict[Node, int]
) -> None:
    written = node.args[0]
    target: Any = node.target
    packet = target._schema.name.removeprefix("aten::").removesuffix("_")
    functional = getattr(getattr(torch.ops.aten, packet, None), target._overloadname, None)
    if functional is None or not isinstance(written, Node):
        raise Unsupported(f"{target} writes in place")
    place = order[node]
    for other, base in memory.items():
        late = any(order.get(reader, place + 1) > place for reader in other.users)
        if base is memory[written] and other not in (written, node) and late:
            raise Unsupported(f"{target} writes into memory that '{other.name}' shows as well")
    node.target = functional
    for reader in list(written.users):
        if reader is not node and order.get(reader, place + 1) > place:
            reader.replace_input_with(written, node)
