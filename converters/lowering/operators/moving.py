"""Operators that move numbers: most of them move nothing, see `arrangement.py`."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from ...rewrite.network import argument, dtype_of, shape_of
from ..arrangement import Atom, View, size
from ..builder import Builder
from ..lower import Lowering, rule
from ..program import NotCovered

aten = torch.ops.aten


@rule(aten.reshape.default)
def _reshape(low: Lowering, node: Node) -> View:
    return low.build.reshaped(low.view(node.args[0]), shape_of(node))


@rule(aten.permute.default)
def _permute(low: Lowering, node: Node) -> View:
    order: Any = node.args[1]
    return low.view(node.args[0]).permuted(order)


@rule(aten.expand.default)
def _expand(low: Lowering, node: Node) -> View:
    view = low.view(node.args[0])
    shape = shape_of(node)
    axes = [()] * (len(shape) - len(view.axes)) + list(view.axes)
    return view.with_axes(
        [
            (Atom(side, (i,)),) if side > 1 and not axis else axis
            for i, (axis, side) in enumerate(zip(axes, shape, strict=True))
        ]
    )


@rule(aten.slice.Tensor)
def _slice(low: Lowering, node: Node) -> View:
    axis, start, end = node.args[1:4]
    step = argument(node, 4, "step", 1)
    view = low.view(node.args[0])
    if step != 1:
        side = view.shape[axis]  # type: ignore[index]
        if side % step or start >= step or (shape_of(node)[axis] != side // step):  # type: ignore[index,operator]
            raise NotCovered(f"a slice {start}:{end}:{step} of {side}")
        shape = list(view.shape)
        shape[axis : axis + 1] = [side // step, step]  # type: ignore[misc,operator]
        every = _cut(low.build, low.build.reshaped(view, shape), axis + 1, start, start + 1)  # type: ignore[operator,arg-type]
        return low.build.reshaped(every, shape_of(node))
    return _cut(low.build, view, axis, start, end)  # type: ignore[arg-type]


def _cut(build: Builder, view: View, axis: int, start: int, end: int) -> View:
    """Numbers `start` to `end` of an axis.

    Of several atoms the outermost is cut where the bounds fall between its items.
    """
    atoms = view.axes[axis]
    inner = size(atoms[1:])
    if len(atoms) > 1 and (start % inner or end % inner):
        view = build.with_run(view, axis)
        atoms, inner = view.axes[axis], 1
    if not atoms:
        return view
    atom, rest = atoms[0], atoms[1:]
    count = (end - start) // inner
    left = Atom(count, atom.place)
    new_axis = ((left,) if count > 1 else ()) + tuple(rest)
    axes = [new_axis if i == axis else other for i, other in enumerate(view.axes)]
    if atom not in view.memory:  # a broadcast one
        return view.with_axes(axes)
    parts = view.partition()
    place = None if parts is None else next(i for i, part in enumerate(parts) if atom in part)
    if place is None or parts is None or parts[place] != (atom,):
        i = view.memory.index(atom)
        sides = [size(view.memory[:i]), atom.size, size(view.memory[i + 1 :])]
        tensor, place = build.reshape(view.tensor, sides), 1
    else:
        tensor = view.tensor
    begin = [0] * len(tensor.shape)
    begin[place] = start // inner
    shape = list(tensor.shape)
    shape[place] = count
    memory = tuple(
        left if one is atom else one for one in view.memory if one is not atom or count > 1
    )
    if tensor.data is not None:
        data = tensor.data.take(range(begin[place], begin[place] + count), axis=place)
        return View(build.constant(data, tensor.name), memory, tuple(axes))
    cut = build.emit("slice", [tensor], shape, begin=tuple(begin), size=tuple(shape))
    return View(cut, memory, tuple(axes))


@rule(aten.cat.default)
def _cat(low: Lowering, node: Node) -> View:
    tensors: Any = node.args[0]
    axis = int(node.args[1])  # type: ignore[arg-type]
    build = low.build
    views = [build.with_run(low.view(one), axis) for one in tensors]
    lead = max(range(len(views)), key=lambda i: -views[i].is_constant or size(views[i].memory))
    if any(atom not in views[lead].memory for one in views[lead].axes for atom in one):
        views[lead] = _solid(build, views[lead])
    others = [i for i in range(len(views[lead].axes)) if i != axis]
    for _ in range(2):  # a split that one operand asks of the leader holds for those before it
        for i in range(len(views)):
            if i != lead:
                pairs = [(k, k) for k in others]
                views[lead], views[i] = build.aligned(views[lead], views[i], pairs)
    leader = views[lead]
    joined = Atom(shape_of(node)[axis], _place(leader, axis))
    own = leader.axes[axis]
    parts = leader.partition()
    if not own:
        parts = [leader.memory, ()]
    elif parts is None or own not in parts:
        i = leader.memory.index(own[0])
        parts = [leader.memory[:i], own, leader.memory[i + 1 :]]
    at = parts.index(own)
    operands = []
    for view in views:
        names = {
            mine: theirs
            for k in others
            for mine, theirs in zip(leader.axes[k], view.axes[k], strict=True)
        }
        operands.append(
            build.arranged(
                view,
                [
                    view.axes[axis] if i == at else tuple(names[atom] for atom in part)
                    for i, part in enumerate(parts)
                ],
            )
        )
    shape = [joined.size if i == at else size(part) for i, part in enumerate(parts)]
    result = build.emit("concatenate", operands, shape, axis=at)
    memory = tuple(a for i, part in enumerate(parts) for a in ((joined,) if i == at else part))
    axes = tuple((joined,) if i == axis else other for i, other in enumerate(leader.axes))
    return View(result, memory, axes)


def _solid(build: Builder, view: View) -> View:
    """The view with all its atoms in memory."""
    order = [atom for one in view.axes for atom in one]
    tensor = build.arranged(view, [(atom,) for atom in order])
    return View(tensor, tuple(order), view.axes)


def _place(view: View, axis: int) -> tuple[int, ...]:
    return view.axes[axis][0].place if view.axes[axis] else (axis,)


@rule(aten.constant_pad_nd.default)
def _pad(low: Lowering, node: Node) -> View:
    view = low.view(node.args[0])
    widths: Any = node.args[1]
    value = argument(node, 2, "value", 0.0)
    rank = len(view.axes)
    build = low.build
    for i in range(len(widths) // 2):
        axis = rank - 1 - i
        if min(widths[2 * i : 2 * i + 2]) < 0:
            raise NotCovered("padding by less than nothing")
        if widths[2 * i] or widths[2 * i + 1]:
            if not view.axes[axis]:
                raise NotCovered("padding an axis of size 1")
            view = build.with_run(view, axis)
    parts = view.partition()
    grown: dict[Atom, tuple[int, int]] = {
        view.axes[rank - 1 - i][0]: (widths[2 * i], widths[2 * i + 1])
        for i in range(len(widths) // 2)
        if widths[2 * i] or widths[2 * i + 1]
    }
    if not grown:
        return view
    if parts is None or any(len(part) > 1 and grown.keys() & set(part) for part in parts):
        parts = [(atom,) for atom in view.memory]
    tensor = build.arranged(View(view.tensor, view.memory, tuple(parts)), parts)
    around = [grown.get(part[0], (0, 0)) if part else (0, 0) for part in parts]
    shape = [
        side + before + after
        for side, (before, after) in zip(tensor.shape, around, strict=True)
    ]
    padded = build.emit(
        "pad", [tensor], shape,
        before=tuple(b for b, _ in around), after=tuple(a for _, a in around), value=float(value),
    )  # fmt: skip
    new = {atom: Atom(atom.size + sum(by), atom.place) for atom, by in grown.items()}
    return View(
        padded,
        tuple(new.get(atom, atom) for atom in view.memory),
        tuple(tuple(new.get(atom, atom) for atom in axis) for axis in view.axes),
    )


@rule(aten.to.dtype, aten._to_copy.default)
def _cast(low: Lowering, node: Node) -> View:
    view = low.view(node.args[0])
    dtype = str(dtype_of(node)).removeprefix("torch.")
    result = low.build.emit("cast", [view.tensor], view.tensor.shape, dtype)
    return View(result, view.memory, view.axes)
