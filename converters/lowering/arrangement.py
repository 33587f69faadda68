"""How a tensor of the graph lies in memory: reshapes and permutations that cost nothing.

The graph sees logical axes, (B, C, H, W); memory holds one sequence of numbers. Between the two
stand atoms: factors of the logical sizes, none of which is ever cut in memory. A `View` says in
which order the atoms lie in memory and of which atoms each logical axis is made, outermost first.
A permutation reorders the axes, a reshape deals the atoms out anew (and splits some); neither
touches memory. Only an operation that asks for an order which memory has not makes a copy.

    x (B,C,H,W) of a convolution       memory  b h w c    axes  b | c | h | w
    x.flatten(2).transpose(1, 2)       memory  b h w c    axes  b | h w | c
    .reshape(B, H*W, heads, d)         memory  b h w e d  axes  b | h w | e | d     (c = e d)

Axes of size 1 have no atoms. An atom of an axis that is not in memory is a broadcast one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    """A logical tensor as an arrangement of `tensor`, whose numbers lie in the order of `memory`."""

    tensor: Tensor
    memory: tuple[Atom, ...]
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(size(axis) for axis in self.axes)

    @property
    def is_constant(self) -> bool:
        return self.tensor.data is not None

    def permuted(self, order: Sequence[int]) -> View:
        return View(self.tensor, self.memory, tuple(self.axes[axis] for axis in order))

    def with_axes(self, axes: Sequence[Axis]) -> View:
        return View(self.tensor, self.memory, tuple(axes))

    def split(self, atom: Atom, outer: int) -> View:
        """The same with an atom in two, `outer` times the rest."""
        return self._exchange(atom, atom.split(outer))

    def _exchange(self, atom: Atom, parts: tuple[Atom, ...]) -> View:
        def exchanged(atoms: Axis) -> Axis:
            if atom not in atoms:
                return atoms
            i = atoms.index(atom)
            return (*atoms[:i], *parts, *atoms[i + 1 :])

        return View(self.tensor, exchanged(self.memory), tuple(map(exchanged, self.axes)))

    def reshaped(self, shape: Sequence[int]) -> View | None:
        """The same numbers as a tensor of another shape; None where an atom would be cut."""
        view: View = self
        rest = [atom for axis in self.axes for atom in axis]
        axes: list[Axis] = []
        for side in shape:
            taken: list[Atom] = []
            while (missing := side // math.prod(atom.size for atom in taken)) > 1:
                atom = rest.pop(0)
                if atom.size > missing:
                    if atom.size % missing:
                        return None
                    first, second = parts = atom.split(missing)
                    view = view._exchange(atom, parts)
                    # Axes that are done hold no part of this atom: it was still among the rest.
                    atom = first
                    rest.insert(0, second)
                elif missing % atom.size:
                    return None
                taken.append(atom)
            axes.append(tuple(taken))
        return view.with_axes(axes)

    def partition(self) -> list[Axis] | None:
        """The atoms of each axis of `tensor`; None where an atom reaches over a border."""
        return partition(self.tensor.shape, self.memory)


def size(atoms: Sequence[Atom]) -> int:
    return math.prod(atom.size for atom in atoms)


def partition(shape: Sequence[int], memory: Sequence[Atom]) -> list[Axis] | None:
    """Deals atoms out to the axes of an array; None where an atom reaches over a border."""
    rest = list(memory)
    parts: list[Axis] = []
    for side in shape:
        taken: list[Atom] = []
        while size(taken) < side and rest:
            taken.append(rest.pop(0))
        if size(taken) != side:
            return None
        parts.append(tuple(taken))
    return parts if not rest else None


def fresh(tensor: Tensor, places: Sequence[int] | None = None) -> View:
    """An array as it is: one atom for each axis that is larger than 1."""
    places = places if places is not None else range(len(tensor.shape))
    axes = [
        (Atom(side, (place,)),) if side > 1 else ()
        for side, place in zip(tensor.shape, places, strict=True)
    ]
    return View(tensor, tuple(atom for axis in axes for atom in axis), tuple(axes))


def same_atoms(a: View, b: View, pairs: Sequence[tuple[int, int]]) -> tuple[View, View] | None:
    """Both with the same sizes of atoms on the axes of each pair; None where these do not fit.

    Where one of an axis' two sides is 1, nothing has to fit.
    """
    for i, j in pairs:
        while True:
            mine, other = a.axes[i], b.axes[j]
            if not mine or not other:
                break
            uneven = next((k for k, (x, y) in enumerate(zip(mine, other, strict=False))
                           if x.size != y.size), None)  # fmt: skip
            if uneven is None:
                if len(mine) != len(other):
                    return None
                break
            x, y = mine[uneven], other[uneven]
            if x.size > y.size and x.size % y.size == 0:
                a = a.split(x, y.size)
            elif y.size > x.size and y.size % x.size == 0:
                b = b.split(y, x.size)
            else:
                return None
    return a, b


def is_run(memory: Sequence[Atom], atoms: Sequence[Atom]) -> bool:
    """Whether atoms lie side by side in memory, in this order."""
    if not atoms or atoms[0] not in memory:
        return not atoms
    start = memory.index(atoms[0])
    return tuple(memory[start : start + len(atoms)]) == tuple(atoms)


def by_place(atoms: Sequence[Atom]) -> tuple[Atom, ...]:
    return tuple(sorted(atoms, key=lambda atom: atom.place))
