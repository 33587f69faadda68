"""Views in the form that an operation needs, by a copy where memory has another order."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .arrangement import Atom, Axis, View, by_place, is_run, size
from .builder import RANK, Builder


def contiguous(build: Builder, view: View) -> View:
    """The view in its own order, one atom for each axis."""
    atoms = [Atom(size(axis), axis[0].place) if axis else None for axis in view.axes]
    memory = tuple(atom for atom in atoms if atom is not None)
    axes = tuple(() if atom is None else (atom,) for atom in atoms)
    return View(build.arranged(view, view.axes), memory, axes)


def reshaped(build: Builder, view: View, shape: Sequence[int]) -> View:
    """The view in another shape; what lies in one piece can be cut anywhere."""
    done = view.reshaped(shape) or view.flattened().reshaped(shape)
    done = done or contiguous(build, view).flattened().reshaped(shape)
    assert done is not None
    return done


def in_one_piece(build: Builder, view: View, axis: int) -> View:
    """The view with at most one atom on an axis, and that one in memory."""
    atoms = view.axes[axis]
    if not is_run(view.memory, atoms):
        places = (i for i, atom in enumerate(view.memory) if atom in atoms)
        first = next(places, len(view.memory))
        before, behind = (
            tuple(atom for atom in part if atom not in atoms)
            for part in (view.memory[:first], view.memory[first:])
        )
        memory = (*before, *atoms, *behind)
        view = View(build.arranged(view, [before, atoms, behind]), memory, view.axes)
    return view.joined(atoms) if len(atoms) > 1 else view


def innermost(build: Builder, view: View, axis: int) -> View:
    """The view with an axis last in memory, its atoms in any order, as the last axis of its array.

    Where that takes a copy, the rest is brought into the order of a map.
    """
    atoms = view.axes[axis]
    rest = tuple(atom for atom in view.memory if atom not in atoms)
    own = view.in_memory_order(atoms)
    if len(own) == len(atoms) and view.memory == (*rest, *own):
        parts = view.partition()
        if parts and parts[-1] == own:
            return view
        tensor = build.reshape(view.tensor, (*_leading(view.tensor.shape, size(rest)), size(own)))
        return View(tensor, view.memory, view.axes)
    rest = by_place(rest)
    outer = [(atom,) for atom in rest] if 0 < len(rest) < RANK else [rest]
    tensor = build.arranged(view, [*outer, atoms])
    return View(tensor, (*rest, *atoms), view.axes)


def isolating(view: View, atoms: Sequence[Atom]) -> list[Axis]:
    """The memory as axes, each of the atoms the outermost of one: the array's own, if they are."""
    parts = view.partition()
    if parts is not None and all(any(part[:1] == (atom,) for part in parts) for atom in atoms):
        return parts
    made: list[list[Atom]] = []
    for atom in view.memory:
        if not made or atom in atoms:
            made.append([atom])
        else:
            made[-1].append(atom)
    return [tuple(part) for part in made]


def slot(view: View, axis: int) -> int:
    """Where in memory an axis without atoms would be: before later ones, a map's channels last."""
    if len(view.axes) == 4 and axis == 1:
        return len(view.memory)
    later = {atom for other in view.axes[axis + 1 :] for atom in other}
    places = (i for i, atom in enumerate(view.memory) if atom in later)
    return next(places, len(view.memory))


def _leading(shape: Sequence[int], count: int) -> Sequence[int]:
    """The first sides of an array that hold `count` numbers; one side where none do."""
    counts = (math.prod(shape[:n]) for n in range(1, len(shape)))
    fitting = next((n for n, held in enumerate(counts, start=1) if held == count), None)
    return [count] if fitting is None else shape[:fitting]
