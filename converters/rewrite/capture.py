"""From an exported program to a `Network`: weights as constants, nothing written in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node
from torch.utils._pytree import tree_leaves, tree_map_only

from .network import Network, argument, free_name

aten = torch.ops.aten

_DROPOUTS = (aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default)
_HELD = {
    InputKind.PARAMETER: "state_dict",
    InputKind.BUFFER: "state_dict",
    InputKind.CONSTANT_TENSOR: "constants",
}


class Unsupported(Exception):
    """A graph that cannot be rewritten; the message is the reason, for people."""


class _NotPlain(Exception):
    """A graph that has to be traced again before it is functional; the message says why."""


def capture(exported: ExportedProgram) -> Network:
    """A network that computes what the program does, with a graph of its own.

    Raises Unsupported for free sizes, for state, and for control flow.
    """
    try:
        return _captured(exported)
    except _NotPlain:
        pass
    # Takes as long as the export did, and most graphs do not need it.
    try:
        return _captured(_without_identities(exported).run_decompositions({}))
    except _NotPlain as error:
        raise Unsupported(str(error)) from None


def _without_identities(exported: ExportedProgram) -> ExportedProgram:
    """The program without operators that return their operand and do not say so.

    When torch traces a program again it takes them for copies, and loses what is written into them.
    """
    graph = fx.Graph()
    copies: dict[Node, Node] = {}
    graph.output(graph.graph_copy(exported.graph, copies))
    graph.output_node().meta = dict(exported.graph.output_node().meta)
    for old, new in copies.items():
        new.meta = dict(old.meta)
    for node in graph.nodes:
        if _returns_operand(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    return ExportedProgram(
        fx.GraphModule(exported.graph_module, graph),
        graph,
        exported.graph_signature,
        exported.state_dict,
        exported.range_constraints,
        exported.module_call_graph,
        exported.example_inputs,
        exported.constants,
        verifiers=exported.verifiers,
    )


def _returns_operand(node: Node) -> bool:
    if node.target in _DROPOUTS:
        return not argument(node, 2, "train")
    if node.target is aten.type_as.default:
        operands = node.all_input_nodes
        return len({operand.meta["val"].dtype for operand in operands}) == 1
    return False


def _captured(exported: ExportedProgram) -> Network:
    graph = fx.Graph()
    copies: dict[Node, Node] = {}
    result: Any = graph.graph_copy(exported.graph, copies)
    graph.output(tuple(result))
    for old, new in copies.items():
        new.meta = dict(old.meta)
    graph.output_node().meta = {}
    for output in exported.graph_signature.output_specs:
        if output.kind is not OutputKind.USER_OUTPUT:
            raise Unsupported(f"the graph writes into '{output.target}'")
    if not all(isinstance(one, Node) for one in result):
        raise Unsupported("an output is not a tensor")
    for node in graph.find_nodes(op="get_attr"):
        raise _NotPlain(f"the graph has a part that runs on a condition, '{node.target}'")

    constants: dict[str, Tensor] = {}
    placeholders = graph.find_nodes(op="placeholder")
    for spec, node in zip(exported.graph_signature.input_specs, placeholders, strict=True):
        if spec.kind is InputKind.USER_INPUT:
            if not isinstance(node.meta["val"], Tensor):
                raise Unsupported(f"the input '{node.name}' is not a tensor")
            continue
        if spec.kind not in _HELD or spec.target is None:
            raise Unsupported(f"the graph has an input of kind {spec.kind.name}")
        held = _held(exported, spec.target)
        name = free_name(constants, spec.target.replace(".", "_"))
        constants[name] = held.double() if held.is_floating_point() else held
        with graph.inserting_before(node):
            constant = graph.create_node("get_attr", name, (), {}, name=name)
        constant.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(constant)
        graph.erase_node(node)
    for node in graph.nodes:
        if "val" in node.meta:
            _check_sizes(node)
            node.meta["val"] = tree_map_only(Tensor, _without_memory, node.meta["val"])
    network = Network(graph, constants)
    _make_functional(graph)
    for node in reversed(list(graph.nodes)):
        if not node.users:
            network.remove(node)
    return network


def _check_sizes(node: Node) -> None:
    for value in tree_leaves(node.meta["val"]):
        if isinstance(value, Tensor) and not all(isinstance(side, int) for side in value.shape):
            raise Unsupported("sizes are free" if node.op == "placeholder" else "sizes vary")


def _without_memory(value: Tensor) -> Tensor:
    return torch.empty(value.shape, dtype=value.dtype, device="meta")


def _held(exported: ExportedProgram, target: str) -> Tensor:
    held = exported.state_dict.get(target)
    if held is None:
        held = exported.constants[target]
    return held.detach()


def _make_functional(graph: fx.Graph) -> None:
    """Puts `relu` in the place of `relu_`, and lets later readers of its operand read the result.

    The exported graph has the writes of the source, in its order. Raises _NotPlain for a write
    that is seen through another name of the same memory.
    """
    memory: dict[Node, Node] = {}  # a node to the one whose memory it looks into
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        memory[node] = node
        if node.op != "call_function":
            continue
        first = next(iter(node.all_input_nodes), None)
        if not isinstance(node.target, torch._ops.OpOverload):
            if first is not None:  # an item of a split
                memory[node] = memory[first]
            continue
        schema = node.target._schema
        if schema.is_mutable:
            _replace_write(graph, node, memory, order)
        elif first is not None and (
            any(r.alias_info is not None for r in schema.returns) or _may_be_view(schema.name)
        ):
            memory[node] = memory[first]


# Composite operators return a view of their operand, or a copy, as its strides have it.
_SOMETIMES_VIEWS = (
    "reshape", "flatten", "contiguous", "dropout", "feature_dropout", "alpha_dropout", "type_as",
    "unflatten", "to", "reshape_as", "ravel", "broadcast_to", "movedim", "moveaxis", "chunk",
    "tensor_split", "narrow", "positive", "atleast_1d", "atleast_2d", "atleast_3d",
)  # fmt: skip


def _may_be_view(name: str) -> bool:
    return name.removeprefix("aten::") in _SOMETIMES_VIEWS


def _replace_write(
    graph: fx.Graph, node: Node, memory: dict[Node, Node], order: dict[Node, int]
) -> None:
    written = node.args[0]
    target: Any = node.target
    if isinstance(written, Node) and memory[written].op == "get_attr":
        raise Unsupported(f"the graph writes into '{memory[written].name}'")
    packet = target._schema.name.removeprefix("aten::").removesuffix("_")
    functional = getattr(getattr(aten, packet, None), target._overloadname, None)
    if functional is None or not isinstance(written, Node):
        raise _NotPlain(f"{target} writes in place")
    if len({operand.meta["val"].dtype for operand in node.all_input_nodes}) > 1:
        raise _NotPlain(f"{target} casts what it writes")
    place = order[node]
    for other, base in memory.items():
        late = any(order.get(reader, place + 1) > place for reader in other.users)
        if base is memory[written] and other not in (written, node) and late:
            raise _NotPlain(f"{target} writes into memory that '{other.name}' shows as well")
    node.target = functional
    for reader in list(written.users):
        if reader is not node and order.get(reader, place + 1) > place:
            reader.replace_input_with(written, node)
