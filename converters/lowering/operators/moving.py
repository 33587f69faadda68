"""Operators that move numbers: most of them move nothing, see `arrangement.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.fx import Node

from ...rewrite.network import argument, dtype_of, shape_of
from ..arrangement import Atom, Axis, View, by_place, size
from ..broadcasting import aligned
from ..builder import Builder
from ..forms import in_one_piece, isolating, reshaped, slot
from ..program import NotCovered
from ..rules import Lowering, rule, type_name
from . import maps

aten = torch.ops.aten


@rule(aten.reshape.default, of_any_type=True)
def _reshape(low: Lowering, node: Node) -> View:
    return reshaped(low.build, low.view(node.args[0]), shape_of(node))


@rule(aten.permute.default, of_any_type=True)
def _permute(low: Lowering, node: Node) -> View:
    order: Any = node.args[1]
    return low.view(node.args[0]).permuted(order)


@rule(aten.expand.default, of_any_type=True)
def _expand(low: Lowering, node: Node) -> View:
    view = low.view(node.args[0])
    shape = shape_of(node)
    axes = (*[()] * (len(shape) - len(view.axes)), *view.axes)
    return view.with_axes(
        [
            (Atom(side, (i,)),) if side > 1 and not axis else axis
            for i, (axis, side) in enumerate(zip(axes, shape, strict=True))
        ]
    )


@rule(aten.slice.Tensor, of_any_type=True)
def _slice(low: Lowering, node: Node) -> View:
    args: Any = node.args
    x, axis, start, end, *steps = args
    return _stepped(low.build, low.view(x), axis, start, end, *steps)


def _stepped(build: Builder, view: View, axis: int, start: int, end: int, step: int = 1) -> View:
    """Each `step`-th number: as (count, step), for which it has to have whole steps, cut twice."""
    if step == 1:
        return _cut(build, view, axis, start, end)
    count, offset = -(-(end - start) // step), start % step
    first, last = start - offset, start - offset + count * step
    view = _padded(build, view, {axis: (0, max(last - view.shape[axis], 0))})
    view = _cut(build, view, axis, first, last)
    shape = (*view.shape[:axis], count, step, *view.shape[axis + 1 :])
    one = _cut(build, reshaped(build, view, shape), axis + 1, offset, offset + 1)
    return one.with_axes((*one.axes[: axis + 1], *one.axes[axis + 2 :]))


def _cut(build: Builder, view: View, axis: int, start: int, end: int) -> View:
    """Numbers `start` up to `end` of an axis.

    Of several atoms the outermost is cut, if the bounds fall between its items.
    """
    if (start, end) == (0, view.shape[axis]):
        return view
    inner = size(view.axes[axis][1:])
    if start % inner or end % inner:
        view = in_one_piece(build, view, axis)
        inner = 1
    atom, *rest = view.axes[axis]
    start, end = start // inner, end // inner
    left = (Atom(end - start, atom.place),) if end - start > 1 else ()
    if atom not in view.memory:  # a broadcast one
        return view.with_axis(axis, (*left, *rest))
    parts = isolating(view, [atom])
    place = next(i for i, part in enumerate(parts) if atom in part)
    tensor = build.arranged(view, parts)
    inner = size(parts[place][1:])
    begin = [0] * len(parts)
    begin[place] = start * inner
    sides = [*tensor.shape]
    sides[place] = (end - start) * inner
    if tensor.data is not None:
        data = tensor.data.take(range(start * inner, end * inner), axis=place)
        cut = build.constant(data, tensor.name)
    else:
        cut = build.emit("slice", [tensor], sides, begin=tuple(begin), size=tuple(sides))
    view = view.exchanged(atom, left)
    return View(cut, view.memory, view.axes)


@rule(aten.cat.default, of_any_type=True)
def _cat(low: Lowering, node: Node) -> View:
    """In the order of the largest operand."""
    tensors: Any
    axis: Any
    tensors, axis = node.args
    build = low.build
    views = [in_one_piece(build, low.view(one), axis) for one in tensors]
    sizes = [0 if view.is_constant else size(view.memory) for view in views]
    lead = sizes.index(max(sizes))
    views[lead] = _filled(build, views[lead])
    pairs = [(i, i) for i in range(len(views[lead].axes)) if i != axis]
    for _ in range(2):  # a split that one operand asks of the leader holds for those before it
        for i in range(len(views)):
            if i != lead:
                views[lead], views[i] = aligned(build, views[lead], views[i], pairs)
    leader = _with_atom(views[lead], axis)
    (own,) = leader.axes[axis]
    parts = isolating(leader, [own])
    place = next(i for i, part in enumerate(parts) if own in part)
    operands = [build.arranged(view, _as_parts(leader, parts, view, axis)) for view in views]
    joined = Atom(shape_of(node)[axis], own.place)
    shape = [*operands[lead].shape]
    shape[place] = joined.size * size(parts[place][1:])
    result = build.emit("concatenate", operands, shape, axis=place)
    view = leader.exchanged(own, (joined,))
    return View(result, view.memory, view.axes)


def _as_parts(leader: View, parts: Sequence[Axis], view: View, axis: int) -> list[Axis]:
    """The leader's parts in the atoms of a view that differs from it on one axis."""
    atoms: dict[Atom, Axis] = {leader.axes[axis][0]: view.axes[axis]}
    for i, (ours, theirs) in enumerate(zip(leader.axes, view.axes, strict=True)):
        if i != axis:
            atoms |= {mine: (other,) for mine, other in zip(ours, theirs, strict=True)}
    return [tuple(other for mine in part for other in atoms[mine]) for part in parts]


def _filled(build: Builder, view: View) -> View:
    """The view with all its atoms in memory."""
    missing = [atom for axis in view.axes for atom in axis if atom not in view.memory]
    if not missing:
        return view
    memory = (*view.memory, *by_place(missing))
    return View(build.arranged(view, [memory]), memory, view.axes)


def _with_atom(view: View, axis: int) -> View:
    """The view with an atom on the axis, though it be of size 1: something to let grow."""
    if view.axes[axis]:
        return view
    atom = Atom(1, (3,) if len(view.axes) == 4 and axis == 1 else (axis,))
    at = slot(view, axis)
    memory = (*view.memory[:at], atom, *view.memory[at:])
    return View(view.tensor, memory, view.axes).with_axis(axis, (atom,))


@rule(aten.constant_pad_nd.default, of_any_type=True)
def _pad(low: Lowering, node: Node) -> View:
    view = low.view(node.args[0])
    widths: Any = node.args[1]
    rank = len(view.axes)
    pairs = zip(widths[::2], widths[1::2], strict=True)
    by_axis = {rank - 1 - i: pair for i, pair in enumerate(pairs)}
    if any(width < 0 for pair in by_axis.values() for width in pair):
        raise NotCovered("padding by less than nothing")
    if all(reader.target in maps.READERS for reader in node.users):
        view = maps.result(maps.operand(low, node), view)
    return _padded(low.build, view, by_axis, argument(node, 2, "value", 0))


def _padded(
    build: Builder, view: View, widths: Mapping[int, tuple[int, int]], value: float = 0
) -> View:
    """The view with so many numbers of one value before and behind these axes."""
    grown: dict[Atom, tuple[int, int]] = {}
    for axis, pair in widths.items():
        if any(pair):
            view = _with_atom(in_one_piece(build, view, axis), axis)
            grown[view.axes[axis][0]] = pair
    if not grown:
        return view
    parts = isolating(view, list(grown))
    tensor = build.arranged(view, parts)
    before, after = (
        tuple(
            grown[part[0]][i] * size(part[1:]) if part and part[0] in grown else 0 for part in parts
        )
        for i in (0, 1)
    )
    shape = [sum(sides) for sides in zip(tensor.shape, before, after, strict=True)]
    result = build.emit("pad", [tensor], shape, before=before, after=after, value=float(value))
    for atom, pair in grown.items():
        view = view.exchanged(atom, (Atom(atom.size + sum(pair), atom.place),))
    return View(result, view.memory, view.axes)


@rule(aten.to.dtype, of_any_type=True)
def _cast(low: Lowering, node: Node) -> View:
    if dtype_of(node) is not torch.float32:
        raise NotCovered(f"values of type {type_name(node)}")
    view = low.view(node.args[0])
    tensor = low.build.emit("cast", [view.tensor], view.tensor.shape, type_name(node))
    return View(tensor, view.memory, view.axes)
