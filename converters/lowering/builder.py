"""Writes a `Program` step by step, each step once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrangement import Atom, Axis, View, fresh, size
from .program import NotCovered, Operation, Program, Tensor

RANK = 6  # the most axes that XNNPACK's arrays have


class Builder:
    """The program so far. `module` is the source's module that new operations count to."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.inputs: list[Tensor] = []
        self.module = ""
        self._names: dict[str, int] = {}  # with how often each was asked for
        self._made: dict[tuple[Any, ...], Tensor] = {}

    def program(self, outputs: dict[str, Tensor]) -> Program:
        return Program(self.inputs, outputs, self.operations)

    def input(self, name: str, shape: Sequence[int], dtype: str) -> View:
        tensor = Tensor(self._name(name), tuple(shape), dtype)
        self.inputs.append(tensor)
        return fresh(tensor)

    def constant(self, data: NDArray[Any], name: str) -> Tensor:
        data = np.asarray(data, order="C")
        return Tensor(self._name(name), data.shape, data.dtype.name, data)

    def emit(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        shape: Sequence[int],
        dtype: str | None = None,
        **attributes: Any,
    ) -> Tensor:
        """An operation's result; that of an earlier one which is the same in all."""
        key = (kind, *inputs, tuple(shape), dtype, *sorted(attributes.items()))
        if key not in self._made:
            name = self._name(f"{self.module}/{kind}" if self.module else kind)
            output = Tensor(name, tuple(shape), dtype or inputs[0].dtype)
            self.operations.append(Operation(kind, tuple(inputs), output, attributes, self.module))
            self._made[key] = output
        return self._made[key]

    def reshape(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        if tensor.shape == tuple(shape):
            return tensor
        if tensor.data is not None:
            return self._rearranged(tensor, tensor.shape, range(len(tensor.shape)), shape)
        return self.emit("reshape", [tensor], shape)

    def transpose(self, tensor: Tensor, order: Sequence[int]) -> Tensor:
        shape = [tensor.shape[axis] for axis in order]
        return self.emit("transpose", [tensor], shape, order=tuple(order))

    def arranged(self, view: View, axes: Sequence[Axis]) -> Tensor:
        """An array with one axis for each of `axes`, made of these atoms in this order.

        Together they are all of the view's atoms that are in memory, and perhaps broadcast ones,
        which are filled in. Raises NotCovered where XNNPACK has no such transposition.
        """
        order = tuple(atom for axis in axes for atom in axis)
        view = self._filled(view, order)
        shape = [size(axis) for axis in axes]
        if order == view.memory:
            return self.reshape(view.tensor, shape)
        runs = _runs(view.memory, order)
        sides = [size(run) for run in runs]
        turned = sorted(range(len(runs)), key=lambda i: order.index(runs[i][0]))
        if view.is_constant:
            return self._rearranged(view.tensor, sides, turned, shape)
        own = _turn(view, axes)
        if own is not None:
            return self.transpose(view.tensor, own)
        if len(runs) > RANK:
            raise NotCovered(f"a transposition of {len(runs)} axes")
        return self.reshape(self.transpose(self.reshape(view.tensor, sides), turned), shape)

    def _filled(self, view: View, order: Axis) -> View:
        """The view with its broadcast atoms in memory, where the order wants them."""
        held = set(view.memory)
        if held.issuperset(order):
            return view
        groups: list[list[Atom]] = []
        for atom in order:
            if groups and (groups[-1][-1] in held) == (atom in held):
                groups[-1].append(atom)
            else:
                groups.append([atom])
        if len(groups) > RANK:
            raise NotCovered(f"broadcasting over {len(groups)} axes")
        shape = [size(group) for group in groups]
        present = [tuple(group) if group[0] in held else () for group in groups]
        tensor = self.arranged(view, present)
        if tensor.data is not None:
            filled = self.constant(np.broadcast_to(tensor.data, shape), tensor.name)
        else:
            copies = [1 if group[0] in held else size(group) for group in groups]
            key = ("ones", tensor.dtype, *copies)
            if key not in self._made:
                self._made[key] = self.constant(np.ones(copies, tensor.dtype), "ones")
            filled = self.emit("multiply", [tensor, self._made[key]], shape, activation=None)
        return View(filled, order, view.axes)

    def _rearranged(
        self, constant: Tensor, sides: Sequence[int], order: Sequence[int], shape: Sequence[int]
    ) -> Tensor:
        """A constant seen with these sides, its axes then put in an order, in another shape."""
        key = ("constant", constant, tuple(sides), tuple(order), tuple(shape))
        if key not in self._made:
            assert constant.data is not None
            data = constant.data.reshape(sides).transpose(order).reshape(shape)
            self._made[key] = self.constant(data, constant.name)
        return self._made[key]

    def _name(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return name if count == 0 else f"{name};{count}"


def _runs(memory: Axis, order: Axis) -> list[Axis]:
    """Memory in the longest pieces that lie in one piece in the other order too."""
    place = {atom: i for i, atom in enumerate(order)}
    runs: list[list[Atom]] = []
    for atom in memory:
        if runs and place[atom] == place[runs[-1][-1]] + 1:
            runs[-1].append(atom)
        else:
            runs.append([atom])
    return [tuple(run) for run in runs]


def _turn(view: View, axes: Sequence[Axis]) -> list[int] | None:
    """The order that turns the array's own axes into these; None where that is not all it takes."""
    parts = view.partition()
    if parts is None or len(parts) != len(axes) or len(parts) > RANK:
        return None
    order: list[int] = []
    for axis in axes:
        fitting = (i for i, part in enumerate(parts) if part == axis and i not in order)
        found = next(fitting, None)
        if found is None:
            return None
        order.append(found)
    return order
