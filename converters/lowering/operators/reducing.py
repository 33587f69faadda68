"""Means and sums, softmax, layer norm that no rewrite took."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch.fx import Node

from ...rewrite.network import argument
from ..arrangement import View, size
from ..broadcasting import pairwise
from ..builder import Builder
from ..forms import innermost
from ..program import NotCovered
from ..rules import Lowering, rule
from .elementwise import apply

aten = torch.ops.aten


@rule(aten.softmax.int)
def _softmax(low: Lowering, node: Node) -> View:
    axis: Any = node.args[1]
    return softmax(low.build, low.view(node.args[0]), axis)


def softmax(build: Builder, view: View, axis: int) -> View:
    return apply(build, "softmax", innermost(build, view, axis))


@rule(aten.mean.dim, aten.sum.dim_IntList)
def _reduce(low: Lowering, node: Node) -> View:
    axes: Any = node.args[1]
    if not argument(node, 2, "keepdim", False):
        raise NotCovered("a mean or sum that drops its axes")
    view = low.view(node.args[0])
    result = mean(low.build, view, axes)
    if node.target is aten.mean.dim:
        return result
    count = size([atom for axis in axes for atom in view.axes[axis]])
    return pairwise(low.build, "multiply", result, low.number(float(count)))


def mean(build: Builder, view: View, axes: Sequence[int]) -> View:
    """The mean over axes, which are kept with size 1. Nothing has to be moved for it.

    Where the last axis of the array is one of several it comes after them: XNNPACK's delegate in
    ExecuTorch has that mean as a product, which is slow for long rows.
    """
    left = view.with_axes([() if i in axes else axis for i, axis in enumerate(view.axes)])
    gone = {atom for axis in axes for atom in view.axes[axis]}
    kept = tuple(atom for atom in view.memory if atom not in gone)
    parts = view.partition()
    if parts is None or any(0 < len(gone.intersection(part)) < len(part) for part in parts):
        runs = groupby(view.memory, gone.__contains__)
        parts = [tuple(run) for _, run in runs]
    tensor = build.arranged(view, parts)
    places = [i for i, part in enumerate(parts) if part and part[0] in gone]
    last = [places.pop()] if len(places) > 1 and places[-1] == len(parts) - 1 else []
    for some in (places, last):
        if some:
            shape = [1 if i in some else side for i, side in enumerate(tensor.shape)]
            tensor = build.emit("mean", [tensor], shape, axes=tuple(some))
    return View(tensor, kept, left.axes)


@rule(aten.amax.default)
def _largest(low: Lowering, node: Node) -> View:
    """A pool over each run of neighbours in memory, as the rows of a map."""
    args: Any = node.args
    x, axes, *keep = args
    view = low.view(x)
    axes = [axis % len(view.axes) for axis in axes]
    gone = {atom for axis in axes for atom in view.axes[axis]}
    memory, tensor = view.memory, view.tensor
    runs = [tuple(run) for is_gone, run in groupby(memory, gone.__contains__) if is_gone]
    for run in runs:
        first = memory.index(run[0])
        outer, inner = memory[:first], memory[first + len(run) :]
        tensor = low.build.reshape(tensor, (size(outer), size(run), 1, size(inner)))
        tensor = low.build.emit(
            "max_pool2d", [tensor], (size(outer), 1, 1, size(inner)),
            kernel=(size(run), 1), stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1),
        )  # fmt: skip
        memory = (*outer, *inner)
    left = [() if i in axes else axis for i, axis in enumerate(view.axes)]
    if not (keep and keep[0]):
        left = [axis for i, axis in enumerate(left) if i not in axes]
    return View(tensor, memory, tuple(left))


@rule(aten.layer_norm.default)
def _layer_norm(low: Lowering, node: Node) -> View:
    """One that no rewrite took: (x - m) / sqrt(mean((x - m)^2) + eps) * weight + bias."""
    build = low.build
    args: Any = node.args
    x, sizes, weight, bias, eps = args
    view = low.view(x)
    axes = [*range(len(view.axes))][-len(sizes) :]
    centred = pairwise(build, "subtract", view, mean(build, view, axes))
    variance = mean(build, apply(build, "square", centred), axes)
    variance = pairwise(build, "add", variance, low.number(float(eps)))
    result = pairwise(build, "multiply", centred, apply(build, "rsqrt", variance))
    for kind, constant in (("multiply", weight), ("add", bias)):
        if constant is not None:
            result = pairwise(build, kind, result, low.view(constant))
    return result
