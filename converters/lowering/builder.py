"""Writes a `Program` step by step: arrays put in the order that an operation needs, then used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrangement import Atom, Axis, View, by_place, fresh, is_run, partition, same_atoms, size
from .program import NotCovered, Operation, Program, Tensor

RANK = 6  # the most axes that XNNPACK transposes or broadcasts over


class Builder:
    """The program so far. `module` is the source's module that new operations count to."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.inputs: list[Tensor] = []
        self.module = ""
        self._names: dict[str, int] = {}
        self._made: dict[tuple[Any, ...], Tensor] = {}

    def program(self, outputs: dict[str, Tensor]) -> Program:
        return Program(self.inputs, outputs, self.operations)

    def input(self, name: str, shape: Sequence[int], dtype: str) -> View:
        tensor = Tensor(self._name(name), tuple(shape), dtype)
        self.inputs.append(tensor)
        # The channels of a map come last where an order is free.
        places = (0, 3, 1, 2) if len(shape) == 4 else None
        return fresh(tensor, places)

    def constant(self, data: NDArray[Any], name: str) -> Tensor:
        data = np.ascontiguousarray(data)
        return Tensor(self._name(name), data.shape, data.dtype.name, data)

    def emit(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        shape: Sequence[int],
        dtype: str | None = None,
        **attributes: Any,
    ) -> Tensor:
        """A new operation's result."""
        name = self._name(f"{self.module}/{kind}" if self.module else kind)
        output = Tensor(name, tuple(shape), dtype or inputs[0].dtype)
        self.operations.append(Operation(kind, tuple(inputs), output, attributes, self.module))
        return output

    def _name(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return name if count == 0 else f"{name};{count}"

    # Order in memory

    def reshape(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        shape = tuple(shape)
        if tensor.shape == shape:
            return tensor
        if tensor.data is not None:
            return self._once(
                ("reshape", tensor, shape),
                lambda: self.constant(tensor.data.reshape(shape), tensor.name),  # type: ignore[union-attr]
            )
        return self._once(
            ("reshape", tensor, shape), lambda: self.emit("reshape", [tensor], shape)
        )

    def arranged(self, view: View, axes: Sequence[Axis]) -> Tensor:
        """An array with one axis for each of `axes`, made of these atoms in this order.

        Together they are all of the view's atoms; broadcast ones are filled in.
        """
        order = tuple(atom for axis in axes for atom in axis)
        view = self._filled(view, order)
        shape = tuple(size(axis) for axis in axes)
        if order == view.memory:
            return self.reshape(view.tensor, shape)
        direct = _turn(view, axes)
        if direct is not None:
            return self._turned(view.tensor, direct)
        runs = _runs(view.memory, order)
        sides = [size(run) for run in runs]
        turned = sorted(range(len(runs)), key=lambda i: order.index(runs[i][0]))
        if view.tensor.data is not None:
            source = view.tensor
            data = source.data.reshape(sides).transpose(turned).reshape(shape)  # type: ignore[union-attr]
            key = ("constant", source, tuple(sides), tuple(turned), shape)
            return self._once(key, lambda: self.constant(data, source.name))
        if len(runs) > RANK:
            raise NotCovered(f"a transposition of {len(runs)} axes")
        result = self._turned(self.reshape(view.tensor, sides), turned)
        return self.reshape(result, shape)

    def _turned(self, tensor: Tensor, order: Sequence[int]) -> Tensor:
        shape = [tensor.shape[axis] for axis in order]
        return self._once(
            ("transpose", tensor, tuple(order)),
            lambda: self.emit("transpose", [tensor], shape, order=tuple(order)),
        )

    def _filled(self, view: View, order: Sequence[Atom]) -> View:
        """The view with its broadcast atoms in memory, where the order wants them."""
        missing = [atom for atom in order if atom not in view.memory]
        if not missing:
            return view
        wanted = [(atom,) for atom in order]
        shape = [1 if atom in missing else atom.size for atom in order]
        present = [atom for atom in order if atom not in missing]
        tensor = self.reshape(self.arranged(view, [(atom,) for atom in present]), shape)
        sides = [size(axis) for axis in wanted]
        if tensor.data is not None:
            filled = self.constant(np.broadcast_to(tensor.data, sides), tensor.name)
        else:
            ones = self.constant(np.ones(sides, tensor.dtype), "ones")
            filled = self._once(
                ("fill", tensor, tuple(sides)),
                lambda: self.emit("multiply", [tensor, ones], sides, activation=None),
            )
        return View(filled, tuple(order), view.axes)

    def _once(self, key: tuple[Any, ...], make: Any) -> Tensor:
        """The same array again where two operations ask for it."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def contiguous(self, view: View) -> View:
        """The view in its own order, one atom for each axis."""
        tensor = self.arranged(view, view.axes)
        return View(tensor, *_whole(view.axes))

    def reshaped(self, view: View, shape: Sequence[int]) -> View:
        done = view.reshaped(shape)
        if done is None:
            view = self.contiguous(view)
            joined = tuple(atom for axis in view.axes for atom in axis)
            whole = Atom(size(joined), joined[0].place)
            flat = View(view.tensor, (whole,), ((whole,),))
            done = flat.reshaped(shape)
            if done is None:
                raise NotCovered(f"a reshape of {view.shape} to {tuple(shape)}")
        return done

    def with_run(self, view: View, axis: int) -> View:
        """The view with one axis as one atom, that lies in one piece in memory."""
        atoms = view.axes[axis]
        broadcast = [atom for atom in atoms if atom not in view.memory]
        if not atoms or (len(atoms) == 1 and not broadcast):
            return view
        memory = view.memory
        tensor = view.tensor
        if broadcast or not is_run(memory, atoms):
            rest = [atom for atom in memory if atom not in atoms]
            first = next((i for i, atom in enumerate(memory) if atom in atoms), len(memory))
            before = sum(atom not in atoms for atom in memory[:first])
            order = [*rest[:before], *atoms, *rest[before:]]
            tensor = self.arranged(view, [(atom,) for atom in order])
            memory = tuple(order)
        whole = Atom(size(atoms), atoms[0].place)
        start = memory.index(atoms[0])
        memory = (*memory[:start], whole, *memory[start + len(atoms) :])
        axes = [(whole,) if i == axis else other for i, other in enumerate(view.axes)]
        return View(tensor, memory, tuple(axes))

    def last(self, view: View, axis: int) -> tuple[View, Tensor]:
        """The view with one axis innermost in memory, and its array (..., axis).

        Where that takes a copy, the rest is brought into the order of a map.
        """
        atoms = view.axes[axis]
        rest = [atom for atom in view.memory if atom not in atoms]
        if view.memory == (*rest, *atoms):
            parts = view.partition()
            if parts is not None and parts and parts[-1] == atoms:
                return view, view.tensor
            tensor = self.reshape(view.tensor, (*_sides(view, rest), size(atoms)))
            return View(tensor, view.memory, view.axes), tensor
        free = by_place([a for i, other in enumerate(view.axes) if i != axis for a in other])
        rest = [atom for atom in free if atom in view.memory]
        tensor = self.arranged(view, [*((atom,) for atom in rest), atoms])
        return View(tensor, (*rest, *atoms), view.axes), tensor

    # Two operands

    def pairwise(self, kind: str, a: View, b: View, activation: Any = None) -> View:
        """`a kind b` with broadcasting of logical axes; the larger operand's order is kept."""
        a, b = _of_one_rank(a, b)
        a, b = self.aligned(a, b, [(i, i) for i in range(len(a.axes))])
        leader, other = (b, a) if _weight(b) > _weight(a) else (a, b)
        # Atoms of the leader in the place of the other's; both may come from one array.
        names = {
            theirs: mine
            for ours, others in zip(leader.axes, other.axes, strict=True)
            for theirs, mine in zip(others, ours or [x.renewed() for x in others], strict=False)
        }
        follower = View(
            other.tensor,
            tuple(names[atom] for atom in other.memory),
            tuple(tuple(names[atom] for atom in axis) for axis in other.axes),
        )
        extra = [atom for atom in follower.memory if atom not in leader.memory]
        order = (*leader.memory, *by_place(extra)) if extra else leader.memory
        mine = set(leader.memory)
        theirs = set(follower.memory)
        parts = partition(leader.tensor.shape, leader.memory) if not extra else None
        if parts is None or any(0 < len(theirs.intersection(p)) < len(p) for p in parts):
            parts = _common_parts(order, mine, theirs)
        if len(parts) > RANK:
            parts = _common_parts(order, mine, theirs)
        first = self._spread(leader, parts)
        second = self._spread(follower, parts)
        operands = [first, second] if leader is a else [second, first]
        tensor = self.emit(
            kind, operands, [size(part) for part in parts], activation=activation
        )
        axes = tuple(x or y for x, y in zip(leader.axes, follower.axes, strict=True))
        return View(tensor, order, axes)

    def _spread(self, view: View, parts: Sequence[Axis]) -> Tensor:
        """An array with an axis for each part, of size 1 where the view has no such atoms."""
        held = set(view.memory)
        own = [part if held.issuperset(part) else () for part in parts]
        tensor = self.arranged(View(view.tensor, view.memory, tuple(own)), own)
        if tensor.data is not None:  # leading ones say nothing
            while len(tensor.shape) > 1 and tensor.shape[0] == 1:
                tensor = self.reshape(tensor, tensor.shape[1:])
        return tensor

    def aligned(self, a: View, b: View, pairs: Sequence[tuple[int, int]]) -> tuple[View, View]:
        done = same_atoms(a, b, pairs)
        if done is None:
            smaller, larger = (a, b) if _weight(a) < _weight(b) else (b, a)
            del larger
            if smaller is a:
                a = self.contiguous(a)
            else:
                b = self.contiguous(b)
            done = same_atoms(a, b, pairs)
        if done is None:
            done = same_atoms(self.contiguous(a), self.contiguous(b), pairs)
        if done is None:
            raise NotCovered(f"operands {a.shape} and {b.shape}")
        return done


def _weight(view: View) -> int:
    """How much would have to be moved; constants are moved at conversion."""
    return -1 if view.is_constant else math.prod(view.tensor.shape)


def _of_one_rank(a: View, b: View) -> tuple[View, View]:
    rank = max(len(a.axes), len(b.axes))
    a, b = (v.with_axes([()] * (rank - len(v.axes)) + list(v.axes)) for v in (a, b))
    return a, b


def _whole(axes: Sequence[Axis]) -> tuple[tuple[Atom, ...], tuple[Axis, ...]]:
    """One atom for each axis, as memory and as axes."""
    atoms = [Atom(size(axis), axis[0].place) if axis else None for axis in axes]
    return (
        tuple(atom for atom in atoms if atom is not None),
        tuple(() if atom is None else (atom,) for atom in atoms),
    )


def _sides(view: View, atoms: Sequence[Atom]) -> list[int]:
    """Sizes for leading atoms as the array has them, where its axes fit; one axis otherwise."""
    sides: list[int] = []
    for side in view.tensor.shape:
        if math.prod(sides) == size(atoms):
            break
        sides.append(side)
    return sides if math.prod(sides) == size(atoms) else [size(atoms)]


def _runs(memory: Sequence[Atom], order: Sequence[Atom]) -> list[Axis]:
    """Memory in the longest pieces that lie in one piece in the other order too."""
    runs: list[list[Atom]] = []
    for atom in memory:
        if runs and order.index(atom) == order.index(runs[-1][-1]) + 1:
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
        fitting = (i for i, part in enumerate(parts) if part == tuple(axis) and i not in order)
        found = next(fitting, None)
        if found is None:
            return None
        order.append(found)
    return order


def _common_parts(order: Sequence[Atom], mine: set[Atom], theirs: set[Atom]) -> list[Axis]:
    """Neighbours that both operands have, or that only one has, as one axis."""
    parts: list[list[Atom]] = []
    kinds: list[tuple[bool, bool]] = []
    for atom in order:
        kind = (atom in mine, atom in theirs)
        if kinds and kinds[-1] == kind:
            parts[-1].append(atom)
        else:
            parts.append([atom])
            kinds.append(kind)
    return [tuple(part) for part in parts] or [()]
