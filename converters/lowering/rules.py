"""What rules for operators work with. They stand in `operators/`, by family.

A rule takes views of its operands and gives a view of its result; where a value lies in memory is
decided step by step, by what makes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor as TorchTensor
from torch.fx import Node, map_arg

from ..rewrite.network import Network, dtype_of, module_path, shape_of
from .arrangement import Atom, View, fresh
from .builder import Builder
from .program import NotCovered, Tensor

_TYPES = (torch.float32, torch.uint8)  # of values that are moved; others compute in float32


class Lowering:
    """The program being made, and the views of the graph's values so far."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.build = Builder()
        self._views: dict[Node, View] = {}
        self._constants: dict[Node, Any] = {}
        self._numbers: dict[float, View] = {}

    def give(self, node: Node, name: str) -> None:
        """Adds an input of the network."""
        _check(node, *_TYPES)
        self._views[node] = self.build.input(name, shape_of(node), type_name(node))

    def step(self, node: Node) -> None:
        """Adds what one call of the network does. Raises NotCovered."""
        if self._is_constant(node):
            return
        one = RULES.get(node.target)
        if one is None:
            raise NotCovered(f"no rule for {node.target}")
        if node.target in OF_ANY_TYPE:
            _check(node, *_TYPES)
        else:
            for operand in (node, *node.all_input_nodes):
                if self.constant(operand) is None:
                    _check(operand, torch.float32)
        self.build.module = module_path(node)
        view = one(self, node)
        if view.shape != shape_of(node):
            raise AssertionError(f"{node.target} gives {view.shape}, not {shape_of(node)}")
        self._views[node] = view

    def result(self, node: Node) -> Tensor:
        """A value as the network has it, for an output."""
        allowed = [torch.float32] if self.constant(node) is not None else _TYPES
        _check(node, *allowed)
        view = self.view(node)
        return self.build.arranged(view, view.axes)

    def view(self, argument: Any) -> View:
        """An operand: a value of the network, a constant as float32, or a number."""
        if not isinstance(argument, Node):
            return self.number(argument)
        if argument not in self._views:
            value = self.constant(argument)
            assert value is not None
            self._views[argument] = self._view_of_constant(value, argument)
        return self._views[argument]

    def number(self, number: float) -> View:
        if number not in self._numbers:
            data = np.array(number, np.float32)
            self._numbers[number] = fresh(self.build.constant(data, repr(number)))
        return self._numbers[number]

    def constant(self, argument: Any) -> TorchTensor | None:
        """A constant operand, floating ones in double precision; None for others."""
        value = self.network.value(argument)
        return self._constants.get(argument) if value is None else value

    def weight(self, argument: Any) -> TorchTensor:
        """A constant operand in double precision. Raises NotCovered for others."""
        value = self.constant(argument)
        if value is None:
            raise NotCovered("weights that are computed while the network runs")
        return value

    def _is_constant(self, node: Node) -> bool:
        """Whether a call computes from constants alone: then that is done, and kept."""
        operands = node.all_input_nodes
        if not all(self.constant(operand) is not None for operand in operands) or _is_random(node):
            return False
        args: Any = map_arg(node.args, self.constant)
        kwargs: Any = map_arg(node.kwargs, self.constant)
        with torch.no_grad():
            self._constants[node] = _widened(node.target(*args, **kwargs))  # type: ignore[operator]
        return True

    def _view_of_constant(self, value: TorchTensor, node: Node) -> View:
        """What an expansion made larger stays small: a broadcast atom for each such axis."""
        shape = tuple(value.shape)
        copied = [i for i, stride in enumerate(value.stride()) if stride == 0 and shape[i] > 1]
        for axis in copied:
            value = value.narrow(axis, 0, 1)
        name = str(node.target) if node.op == "get_attr" else node.name
        view = fresh(self.build.constant(array(value), name))
        for axis in copied:
            view = view.with_axis(axis, (Atom(shape[axis], (axis,)),))
        return view


Rule = Callable[[Lowering, Node], View]
RULES: dict[Any, Rule] = {}
OF_ANY_TYPE: set[Any] = set()  # operators that move numbers, bytes as well


def rule(*targets: Any, of_any_type: bool = False) -> Callable[[Rule], Rule]:
    """Registers a function as the rule of these operators."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, function))
        if of_any_type:
            OF_ANY_TYPE.update(targets)
        return function

    return register


def array(value: TorchTensor) -> NDArray[np.float32]:
    """A constant as the file holds it."""
    return value.float().numpy()


def type_name(node: Node) -> str:
    return str(dtype_of(node)).removeprefix("torch.")


def _check(node: Node, *allowed: torch.dtype) -> None:
    if dtype_of(node) not in allowed:
        raise NotCovered(f"values of type {type_name(node)}")
    if 0 in shape_of(node):
        raise NotCovered("values without extent")


def _is_random(node: Node) -> bool:
    tags = getattr(node.target, "tags", ())
    return torch.Tag.nondeterministic_seeded in tags


def _widened(result: Any) -> Any:
    """What an operator that makes numbers gives in single precision, in double."""
    if isinstance(result, TorchTensor):
        return result.double() if result.is_floating_point() else result
    return type(result)(map(_widened, result))
