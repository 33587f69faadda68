"""Two operands number by number: one of them in the other's order."""

from __future__ import annotations

from collections.abc import Sequence

from .arrangement import Atom, Axis, View, by_place, same_atoms, size
from .builder import RANK, Builder
from .forms import contiguous
from .program import NotCovered, Tensor

Bounds = tuple[float | None, float | None]


def aligned(
    build: Builder, a: View, b: View, pairs: Sequence[tuple[int, int]]
) -> tuple[View, View]:
    """Both with atoms of the same sizes on the axes of each pair; the smaller is copied for it."""
    done = same_atoms(a, b, pairs)
    if done is None:
        if _cost(a) < _cost(b):
            a = contiguous(build, a)
        else:
            b = contiguous(build, b)
        done = same_atoms(a, b, pairs)
    assert done is not None
    return done


def pairwise(build: Builder, kind: str, a: View, b: View, activation: Bounds | None = None) -> View:
    """`a kind b` with broadcasting of logical axes, in the order of the larger operand."""
    a, b = of_one_rank(a, b)
    a, b = aligned(build, a, b, [(i, i) for i in range(len(a.axes))])
    is_second = _precedence(b) > _precedence(a)
    leader, follower = (b, a) if is_second else (a, b)
    if leader.is_constant:  # which may lie in any order
        order = by_place(leader.memory)
        leader = View(build.arranged(leader, [(atom,) for atom in order]), order, leader.axes)
    follower = _in_atoms_of(leader, follower)
    mine, others = set(leader.memory), set(follower.memory)
    memory = (*leader.memory, *by_place(others - mine))
    parts = leader.partition() if others <= mine else None
    if parts is None or any(0 < len(others.intersection(part)) < len(part) for part in parts):
        parts = _common_parts(memory, mine, others)
    if len(parts) > RANK:
        raise NotCovered(f"broadcasting over {len(parts)} axes")
    operands = [_spread(build, view, parts) for view in (leader, follower)]
    if is_second:
        operands.reverse()
    tensor = build.emit(kind, operands, [size(part) for part in parts], activation=activation)
    axes = tuple(x or y for x, y in zip(leader.axes, follower.axes, strict=True))
    return View(tensor, memory, axes)


def of_one_rank(a: View, b: View) -> tuple[View, View]:
    """Both with the larger number of axes, new ones ahead."""
    rank = max(len(a.axes), len(b.axes))
    a, b = (view.with_axes((*[()] * (rank - len(view.axes)), *view.axes)) for view in (a, b))
    return a, b


def _cost(view: View) -> int:
    """How many numbers a change of order copies; constants are rearranged at conversion."""
    return 0 if view.is_constant else size(view.memory)


def _precedence(view: View) -> tuple[int, bool, bool, bool]:
    """Of equally large ones a value leads rather than a constant, then what lies as a map."""
    is_map = False
    if len(view.axes) == 4:
        b, c, h, w = view.axes
        is_map = view.memory == (*b, *h, *w, *c)
    return size(view.memory), not view.is_constant, is_map, view.memory == by_place(view.memory)


def _in_atoms_of(leader: View, other: View) -> View:
    """The other with the leader's atoms in the place of its own; both may come from one array."""
    names = {
        theirs: mine
        for ours, others in zip(leader.axes, other.axes, strict=True)
        for mine, theirs in zip(ours or [atom.renewed() for atom in others], others, strict=False)
    }
    axes = tuple(tuple(names[atom] for atom in axis) for axis in other.axes)
    return View(other.tensor, tuple(names[atom] for atom in other.memory), axes)


def _common_parts(memory: Axis, mine: set[Atom], others: set[Atom]) -> list[Axis]:
    """Neighbours that both operands have, or that only one has, as one axis."""
    parts: list[list[Atom]] = []
    for atom in memory:
        if parts and all((parts[-1][-1] in held) == (atom in held) for held in (mine, others)):
            parts[-1].append(atom)
        else:
            parts.append([atom])
    return [tuple(part) for part in parts] or [()]


def _spread(build: Builder, view: View, parts: Sequence[Axis]) -> Tensor:
    """An array with an axis for each part, of size 1 where the view has no such atoms."""
    held = set(view.memory)
    tensor = build.arranged(view, [part if held.issuperset(part) else () for part in parts])
    if view.is_constant:  # leading ones say nothing
        first = next((i for i, side in enumerate(tensor.shape) if side > 1), len(parts) - 1)
        tensor = build.reshape(tensor, tensor.shape[first:])
    return tensor
