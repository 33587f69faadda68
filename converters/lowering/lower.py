"""From an ATen graph in its canonical form to a `Program`: `lower(network, ...)`.

The rules for operators are in `operators/`, by family. A rule takes views of its operands and gives
a view of its result; where a value lies in memory is decided step by step, by what makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor as TorchTensor
from torch.fx import Node

from ..rewrite.network import Network, dtype_of, module_path, shape_of
from .arrangement import View, fresh
from .builder import Builder
from .fusion import fuse_activations, without_dead_ends
from .program import NotCovered, Program

Rule = Callable[["Lowering", Node], View]
RULES: dict[Any, Rule] = {}


def rule(*targets: Any) -> Callable[[Rule], Rule]:
    def register(one: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, one))
        return one

    return register


class Lowering:
    """The program being made, and the views of the graph's values so far."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.build = Builder()
        self._views: dict[Node, View] = {}

    def run(self, input_names: Sequence[str], output_names: Sequence[str]) -> Program:
        for node, name in zip(self.network.inputs, input_names, strict=True):
            dtype = str(dtype_of(node)).removeprefix("torch.")
            self._views[node] = self.build.input(name, shape_of(node), dtype)
        for node in self.network.calls():
            one = RULES.get(node.target)
            if one is None:
                raise NotCovered(f"no rule for {node.target}")
            self.build.module = module_path(node)
            view = one(self, node)
            if view.shape != shape_of(node):
                raise AssertionError(f"{node.target} gives {view.shape}, not {shape_of(node)}")
            self._views[node] = view
        outputs = {}
        self.build.module = ""
        for name, node in zip(output_names, self.network.outputs, strict=True):
            view = self.view(node)
            outputs[name] = self.build.arranged(view, view.axes)
        program = self.build.program(outputs)
        return without_dead_ends(fuse_activations(program))

    def view(self, argument: Any) -> View:
        """An operand: a value of the graph, a constant, or a number."""
        if isinstance(argument, Node) and argument.op != "get_attr":
            return self._views[argument]
        if isinstance(argument, Node):
            if argument not in self._views:
                data = self.network.rounded(argument)
                tensor = self.build.constant(data.numpy(), str(argument.target))
                self._views[argument] = fresh(tensor)
            return self._views[argument]
        return self.number(argument)

    def number(self, number: float) -> View:
        data = torch.tensor(float(number), dtype=torch.float32).numpy()
        return fresh(self.build.constant(data, repr(number)))

    def weight(self, argument: Any) -> TorchTensor | None:
        """A constant operand, rounded as the file will hold it; None for a missing one.

        Raises NotCovered where it is computed while the network runs.
        """
        if argument is None:
            return None
        if not isinstance(argument, Node) or argument.op != "get_attr":
            raise NotCovered("weights that are computed while the network runs")
        return self.network.rounded(argument)


def lower(network: Network, input_names: Sequence[str], output_names: Sequence[str]) -> Program:
    """The network as a program. Raises NotCovered, with the first reason."""
    from . import operators  # noqa: F401  # registers the rules

    for node in network.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, TorchTensor) and value.dtype not in (torch.float32, torch.uint8):
            if node.op == "get_attr":
                continue
            raise NotCovered(f"values of type {str(value.dtype).removeprefix('torch.')}")
    return Lowering(network).run(input_names, output_names)
