"""Means and sums, softmax, layer norm that no rewrite took."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.fx import Node

from ...rewrite.network import argument
from ..arrangement import View, by_place, fresh, size
from ..lower import Lowering, rule
from ..program import NotCovered

aten = torch.ops.aten


@rule(aten.softmax.int)
def _softmax(low: Lowering, node: Node) -> View:
    view = low.view(node.args[0])
    axis = int(node.args[1]) % len(view.axes)  # type: ignore[arg-type]
    view, tensor = low.build.last(view, axis)
    return View(low.build.emit("softmax", [tensor], tensor.shape), view.memory, view.axes)


@rule(aten.mean.dim)
def _mean(low: Lowering, node: Node) -> View:
    axes: Any = node.args[1]
    return mean(low, low.view(node.args[0]), axes)


@rule(aten.sum.dim_IntList)
def _sum(low: Lowering, node: Node) -> View:
    axes: Any = node.args[1]
    view = low.view(node.args[0])
    if not argument(node, 2, "keepdim", False):
        raise NotCovered("a sum that drops its axes")
    return mean(low, view, axes, factor=size([a for axis in axes for a in view.axes[axis]]))


def mean(low: Lowering, view: View, axes: list[int], factor: int = 1) -> View:
    """The mean over axes, which are kept with size 1, times a factor.

    Over what lies last in memory it is a linear layer with one row of 1/n, over what lies before it
    a pool: those are what every backend has.
    """
    build = low.build
    gone = [atom for axis in axes for atom in view.axes[axis]]
    gone = [atom for atom in view.memory if atom in gone]
    if any(atom not in view.memory for axis in axes for atom in view.axes[axis]):
        raise NotCovered("a mean over an expanded axis")
    kept = [atom for atom in view.memory if atom not in gone]
    left = [() if i in axes else axis for i, axis in enumerate(view.axes)]
    if not gone:
        return view.with_axes(left)
    n = size(gone)
    if view.memory[-1] in gone:
        if view.memory != (*kept, *gone):
            kept = [atom for atom in by_place(view.memory) if atom not in gone]
        tensor = build.arranged(view, [*((a,) for a in kept), tuple(gone)])
        row = build.constant(np.full((1, n), factor / n, np.float32), "mean")
        result = build.emit(
            "fully_connected", [tensor, row], [*tensor.shape[:-1], 1], activation=None
        )
        return View(result, tuple(kept), tuple(left))
    start = view.memory.index(gone[0])
    outer, inner = kept[:start], kept[start:]
    natural = view.partition()
    is_map = natural is not None and [bool(part) for part in natural[1:]] == [True] * 3
    if is_map and natural is not None and (*natural[1], *natural[2]) == tuple(gone):
        tensor = view.tensor
    else:
        tensor = build.arranged(view, [tuple(outer), tuple(gone), (), tuple(inner)])
    b, _, _, c = tensor.shape
    result = build.emit("mean", [tensor], (b, 1, 1, c), axes=(1, 2))
    done = View(result, (*outer, *inner), tuple(left))
    if factor == 1:
        return done
    return build.pairwise("multiply", done, low.number(float(factor)))


@rule(aten.layer_norm.default)
def _layer_norm(low: Lowering, node: Node) -> View:
    """(x - m) / sqrt(mean((x - m)^2) + eps) * gamma + beta, over the last axes."""
    build = low.build
    x = low.view(node.args[0])
    normalised: Any = node.args[1]
    axes = list(range(len(x.axes) - len(normalised), len(x.axes)))
    centred = build.pairwise("subtract", x, mean(low, x, axes))
    square = View(
        build.emit("square", [centred.tensor], centred.tensor.shape), centred.memory, centred.axes
    )
    variance = build.pairwise("add", mean(low, square, axes), low.number(_eps(node)))
    inverse = View(
        build.emit("rsqrt", [variance.tensor], variance.tensor.shape),
        variance.memory,
        variance.axes,
    )
    y = build.pairwise("multiply", centred, inverse)
    for kind, constant in (("multiply", argument(node, 2, "")), ("add", argument(node, 3, ""))):
        if constant is not None:
            values = low.weight(constant)
            if values is not None:
                tensor = build.constant(values.numpy(), str(constant.target))
                y = build.pairwise(kind, y, fresh(tensor))
    return y


def _eps(node: Node) -> float:
    return float(argument(node, 4, "eps", 1e-5))
