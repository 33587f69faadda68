"""How a tensor of the graph lies in memory: reshapes and permutations that cost nothing.

The graph sees logical axes, (B, C, H, W); memory holds one sequence of numbers. Between the two
stand atoms: factors of the logical sizes, none of which is ever cut in memory. A `View` says in
which order the atoms lie in memory and of which atoms each logical axis is made, outermost first.
A permutation reorders the axes, a reshape deals the atoms out anew (and splits some); neither
touches memory. Only an operation that asks for an order which memory has not makes a copy.

    x (B,C,H,W) of a convolution       memory  b h w c    axes  b | c | h | w
    x.flatten(2).transpose(1, 2)       memory  b h w c    axes  b | h w | c
    .reshape(B, H*W, heads, d)         memory  b h w e d  axes  b | h w | e | d     (c = e d)

Axes of size 1 have no atoms. Each atom of the memory is in one axis; an atom of an axis that is not
in memory is a broadcast one: its numbers are all the same.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .program import Tensor


@dataclass(frozen=True, eq=False)
class Atom:
    """A factor of a size, by identity.

    `place` tells where it would lie in a map (B,H,W,C): its axis' position, then the positions of
    the splits that it comes from. Where an order is free, atoms are sorted by it.
    """

    size: int
    place: tuple[int, ...]

    def split(self, outer: int) -> tuple[Atom, Atom]:
        return Atom(outer, (*self.place, 0)), Atom(self.size // outer, (*self.place, 1))

    def renewed(self) -> Atom:
        """Another of the same size and place."""
        return Atom(self.size, self.place)


Axis = tuple[Atom, ...]


@dataclass(frozen=True, eq=False)
class View:
    """A logical tensor as an arrangement of `tensor`, whose numbers lie in `memory`'s order."""

    tensor: Tensor
    memory: Axis
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(map(size, self.axes))

    @property
    def is_constant(self) -> bool:
        return self.tensor.data is not None

    def with_axes(self, axes: Sequence[Axis]) -> View:
        return View(self.tensor, self.memory, tuple(axes))

    def with_axis(self, axis: int, atoms: Axis) -> View:
        return self.with_axes((*self.axes[:axis], atoms, *self.axes[axis + 1 :]))

    def permuted(self, order: Sequence[int]) -> View:
        return self.with_axes([self.axes[axis] for axis in order])

    def renewed(self) -> View:
        """The same of other atoms, which no other view has."""
        names = {atom: atom.renewed() for axis in self.axes for atom in axis}
        axes = tuple(tuple(names[atom] for atom in axis) for axis in self.axes)
        return View(self.tensor, tuple(names[atom] for atom in self.memory), axes)

    def exchanged(self, atom: Atom, parts: Axis) -> View:
        """The same with others in the place of one atom."""

        def exchange(atoms: Axis) -> Axis:
            if atom not in atoms:
                return atoms
            i = atoms.index(atom)
            return (*atoms[:i], *parts, *atoms[i + 1 :])

        return View(self.tensor, exchange(self.memory), tuple(map(exchange, self.axes)))

    def reshaped(self, shape: Sequence[int]) -> View | None:
        """The same numbers as a tensor of another shape; None where an atom would be cut."""
        view: View = self
        rest = [atom for axis in self.axes for atom in axis]
        axes: list[Axis] = []
        for side in shape:
            taken: list[Atom] = []
            while (missing := side // size(taken)) > 1:
                atom = rest.pop(0)
                if atom.size > missing:
                    if atom.size % missing:
                        return None
                    parts = atom.split(missing)
                    view = view.exchanged(atom, parts)
                    atom, inner = parts
                    rest.insert(0, inner)
                elif missing % atom.size:
                    return None
                taken.append(atom)
            axes.append(tuple(taken))
        return view.with_axes(axes)

    def flattened(self) -> View:
        """All of it as one axis, of as few atoms as its order in memory allows."""
        atoms = [atom for axis in self.axes for atom in axis]
        flat = self.with_axes([tuple(atoms)])
        start = 0
        for end in range(1, len(atoms) + 1):
            run = atoms[start : end + 1]
            if end < len(atoms) and is_run(self.memory, run):
                continue
            if end - start > 1:
                flat = flat.joined(tuple(atoms[start:end]))
            start = end
        return flat

    def joined(self, run: Axis) -> View:
        """The same with one atom in the place of a run, which is one in memory and in its axis."""
        view = self.exchanged(run[0], (Atom(size(run), run[0].place),))
        for atom in run[1:]:
            view = view.exchanged(atom, ())
        return view

    def partition(self) -> list[Axis] | None:
        """The atoms of each axis of `tensor`; None where an atom reaches over a border."""
        rest = list(self.memory)
        parts: list[Axis] = []
        for side in self.tensor.shape:
            taken: list[Atom] = []
            while size(taken) < side and rest:
                taken.append(rest.pop(0))
            if size(taken) != side:
                return None
            parts.append(tuple(taken))
        return parts

    def in_memory_order(self, atoms: Sequence[Atom]) -> Axis:
        """Those of the atoms that are in memory, in its order."""
        wanted = set(atoms)
        return tuple(atom for atom in self.memory if atom in wanted)


def size(atoms: Sequence[Atom]) -> int:
    return math.prod(atom.size for atom in atoms)


def fresh(tensor: Tensor) -> View:
    """An array as it is: one atom for each axis that is larger than 1.

    Of four axes the second is taken for a map's channels, which come last where an order is free.
    """
    places = (0, 3, 1, 2) if len(tensor.shape) == 4 else range(len(tensor.shape))
    axes = [
        (Atom(side, (place,)),) if side > 1 else ()
        for side, place in zip(tensor.shape, places, strict=True)
    ]
    return View(tensor, tuple(atom for axis in axes for atom in axis), tuple(axes))


def same_atoms(a: View, b: View, pairs: Sequence[tuple[int, int]]) -> tuple[View, View] | None:
    """Both with atoms of the same sizes on the axes of each pair; None where these do not fit.

    Where one of an axis' two sides is 1, nothing has to fit.
    """
    for i, j in pairs:
        while a.axes[i] and b.axes[j]:
            atoms = zip(a.axes[i], b.axes[j], strict=False)
            uneven = next(((x, y) for x, y in atoms if x.size != y.size), None)
            if uneven is None:
                break
            x, y = uneven
            if x.size % y.size == 0:
                a = a.exchanged(x, x.split(y.size))
            elif y.size % x.size == 0:
                b = b.exchanged(y, y.split(x.size))
            else:
                return None
    return a, b


def is_run(memory: Sequence[Atom], atoms: Sequence[Atom]) -> bool:
    """Whether atoms lie side by side in memory, in this order."""
    if not atoms or atoms[0] not in memory:
        return not atoms
    start = memory.index(atoms[0])
    return tuple(memory[start : start + len(atoms)]) == tuple(atoms)


def by_place(atoms: Collection[Atom]) -> Axis:
    return tuple(sorted(atoms, key=lambda atom: atom.place))
