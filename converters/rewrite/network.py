"""The graph that rewrites work on: ATen operators on named constants, from an exported module.

`Network` is an exported program with its weights as constants of the graph, in double precision
while rewrites fold them: each is rounded once, at the end, to the type that the graph declares.
Every node knows its shape and type (`meta["val"]`, a tensor without memory) and the source's module
that it comes from. What the operators are is said in `canonical.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx import Node
from torch.fx.node import map_aggregate

aten = torch.ops.aten

Target = Callable[..., Any]


class Network:
    """A graph under rewriting.

    `outputs` are the graph's results in order, `inputs` its placeholders. Nodes are functional:
    none writes into its operands, so that a value may be read anywhere after it exists.
    """

    def __init__(self, graph: fx.Graph, constants: dict[str, Tensor]) -> None:
        self.graph = graph
        self._constants = constants

    @property
    def inputs(self) -> list[Node]:
        return [node for node in self.graph.nodes if node.op == "placeholder"]

    @property
    def outputs(self) -> list[Node]:
        return list(self.graph.output_node().args[0])  # type: ignore[arg-type]

    def calls(self, *targets: Target) -> list[Node]:
        """The nodes that call one of these operators, in order; all calls without any."""
        return [
            node
            for node in self.graph.nodes
            if node.op == "call_function" and (not targets or node.target in targets)
        ]

    def value(self, argument: Any) -> Tensor | None:
        """A constant operand as a tensor, floating ones in double precision; None for others.

        Numbers count as constants without axes.
        """
        if isinstance(argument, bool | int | float):
            return torch.tensor(argument, dtype=torch.float64)
        if isinstance(argument, Node) and argument.op == "get_attr":
            return self._constants[str(argument.target)]
        return None

    def is_own(self, constant: Node) -> bool:
        """Whether a constant has one reader: a fold into a shared weight would double it."""
        return len(constant.users) == 1

    def constant(self, value: Tensor, *, before: Node, dtype: torch.dtype, name: str = "") -> Node:
        """A new constant ahead of a node; `dtype` is what it will be rounded to."""
        if value.is_floating_point():
            value = value.double()
        name = free_name(self._constants, name or "folded")
        self._constants[name] = value.contiguous()
        with self.graph.inserting_before(before):
            node = self.graph.create_node("get_attr", name, (), {}, name=name)
        node.meta["val"] = torch.empty(value.shape, dtype=dtype, device="meta")
        _inherit(node, before)
        return node

    def like(self, value: Tensor, old: Node, *, before: Node) -> Node:
        """A constant in the place of another: its type, and its name with a mark."""
        return self.constant(
            value, before=before, dtype=old.meta["val"].dtype, name=str(old.target)
        )

    def call(self, target: Target, *args: Any, at: Node, **kwargs: Any) -> Node:
        """A new call ahead of the node `at`, whose source's module it counts to."""
        with self.graph.inserting_before(at):
            node = self.graph.call_function(target, args, kwargs)
        node.meta["val"] = _result(target, _values(args), _values(kwargs))
        _inherit(node, at)
        return node

    def replace(self, old: Node, new: Node) -> None:
        """Every reader of `old` reads `new`; `old` is removed, with what nobody reads then.

        Raises ValueError where shape or type differ: no reader expects that.
        """
        before, after = old.meta["val"], new.meta["val"]
        if before.shape != after.shape or before.dtype != after.dtype:
            raise ValueError(
                f"{old.name} is {before.dtype} {tuple(before.shape)}, "
                f"{new.name} is {after.dtype} {tuple(after.shape)}"
            )
        old.replace_all_uses_with(new)
        self.remove(old)

    def remove(self, node: Node) -> None:
        """Removes a node without readers, and operands that lose their last reader with it."""
        waiting = [node]
        while waiting:
            one = waiting.pop()
            if one.users or one.op in ("placeholder", "output") or one._erased:
                continue
            operands = one.all_input_nodes
            self.graph.erase_node(one)
            if one.op == "get_attr":
                del self._constants[str(one.target)]
            waiting += operands

    def evaluate(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs for these inputs, all of it in double precision."""
        values: dict[Node, Any] = {}
        waiting = iter(inputs)
        with torch.no_grad():
            for node in self.graph.nodes:
                if node.op == "placeholder":
                    x = next(waiting)
                    values[node] = x.double() if x.is_floating_point() else x
                elif node.op == "get_attr":
                    values[node] = self._constants[str(node.target)]
                elif node.op == "call_function":
                    values[node] = compute(node, values, double=True)
        return tuple(values[node] for node in self.outputs)

    def rounded(self, constant: Node) -> Tensor:
        """A constant as the file will hold it."""
        value: Tensor = self._constants[str(constant.target)]
        return value.to(constant.meta["val"].dtype)

    def module(self) -> fx.GraphModule:
        """The graph as a module: positional tensors in, a tuple out, constants as buffers."""
        root = nn.Module()
        for node in self.graph.find_nodes(op="get_attr"):
            if not hasattr(root, str(node.target)):
                root.register_buffer(str(node.target), self.rounded(node))
        graph = fx.Graph()
        copies: dict[Node, Node] = {}
        result = graph.graph_copy(self.graph, copies)
        graph.output(result)
        return fx.GraphModule(root, graph).eval()


def compute(node: Node, values: Mapping[Node, Any], *, double: bool) -> Any:
    """What a call gives for the values of its operands.

    With `double`, types of single and half precision that the call names, or leaves to torch,
    are double precision.
    """
    target: Any = node.target
    args = fx.map_arg(node.args, values.__getitem__)
    kwargs = fx.map_arg(node.kwargs, values.__getitem__)
    if not double:
        return target(*args, **kwargs)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # of arange(0.5, 8), and of a quotient of integers
    try:
        return target(*map_aggregate(args, _widened), **map_aggregate(kwargs, _widened))
    finally:
        torch.set_default_dtype(usual)


def _widened(argument: Any) -> Any:
    narrow = isinstance(argument, torch.dtype) and argument.is_floating_point
    return torch.float64 if narrow else argument


def shape_of(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def dtype_of(node: Node) -> torch.dtype:
    dtype: torch.dtype = node.meta["val"].dtype
    return dtype


def only_reader(node: Node) -> Node | None:
    """The one node that reads this one; None where there are more, or an output among them."""
    readers = list(node.users)
    return readers[0] if len(readers) == 1 and readers[0].op == "call_function" else None


def argument(node: Node, position: int, name: str, default: Any = None) -> Any:
    """An argument of a call, given by position or by name."""
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)


def module_path(node: Node) -> str:
    """The path of the innermost module of the source that a node comes from."""
    stack: Mapping[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    return next((path for path, _ in reversed(list(stack.values()))), "")


def free_name(taken: Mapping[str, Tensor], name: str) -> str:
    if name not in taken:
        return name
    stem = name.partition("__")[0]
    return next(f"{stem}__{i}" for i in range(1, len(taken) + 2) if f"{stem}__{i}" not in taken)


def _result(target: Target, args: Any, kwargs: Any) -> Any:
    """What a call gives, without memory. torch takes about 1 ms to say so for these two."""
    if target is aten.linear.default:
        x, weight = args[:2]
        return torch.empty((*x.shape[:-1], weight.shape[0]), dtype=x.dtype, device="meta")
    if target is aten.layer_norm.default:
        return torch.empty_like(args[0], memory_format=torch.contiguous_format)
    return target(*args, **kwargs)


def _values(arguments: Any) -> Any:
    return fx.map_arg(arguments, lambda node: node.meta["val"])


def _inherit(node: Node, other: Node) -> None:
    if "nn_module_stack" in other.meta:
        node.meta["nn_module_stack"] = other.meta["nn_module_stack"]


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """All that the nodes depend on, themselves included, each once."""
    waiting, seen = list(nodes), set(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for operand in node.all_input_nodes:
            if operand not in seen:
                seen.add(operand)
                waiting.append(operand)
