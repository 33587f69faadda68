"""Depthwise kernels of more taps than XNNPACK is fast with, as sums of smaller ones.

    sum over all taps of w[i, j] x[y + i, x + j] = the sum of the same over parts of the taps

XNNPACK has depthwise kernels of 3, 4, 9 and 25 taps. One in between costs as much as the next
larger, and beyond 25 it takes the general convolution, channel by channel, which is 9 times slower
for each tap. A part has its taps at equal distances on each axis, from -a to a around the
centre, so that it is a convolution of its own with a dilation, and with padding that is the same on
both sides: a 7x7 kernel is 8 + 20 + 21 taps,

    rows -3 -1 1 3, columns -3 3    rows -3 -1 1 3, columns -2 .. 2    rows -2 0 2, columns -3 .. 3

Rows are split into such steps first, and columns for each of them (or the other way round), so
that the taps and the additions together cost least.

It applies to kernels with an odd number of taps on each axis whose weight is a constant of their
own, and whose padding is at least half the kernel: otherwise a part would begin inside the map.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from .network import Network, shape_of

aten = torch.ops.aten

_FAST = (3, 4, 9, 25)  # the taps of XNNPACK's depthwise kernels
_SLOW_TAP = 9.0  # what a tap costs beyond them, in taps of a fast kernel
_ADDITION = 7.5  # what it costs to add two maps, in the same; a little more than in one thread
_WORTH = 0.85  # of the cost as it was: no more may be left

Steps = tuple[int, int]  # the farthest tap from the centre, and from one to the next; (0, 1): it
Part = tuple[Steps, Steps]  # of rows, of columns


def apply(network: Network) -> int:
    return sum(_split(network, node) for node in network.calls(aten.conv2d.default))


def _split(network: Network, node: Node) -> bool:
    args: Any = node.args
    x, weight, bias, stride, padding, dilation, groups = args
    value = network.value(weight)
    if value is None or not network.is_own(weight):
        return False
    rows, columns = value.shape[2:]
    is_depthwise = 1 < groups == shape_of(x)[1] == len(value)
    if not is_depthwise or not rows % 2 == columns % 2 == 1:
        return False
    if any(
        p < side // 2 * d for p, side, d in zip(padding, (rows, columns), dilation, strict=True)
    ):
        return False
    parts, cost = _cheapest(rows, columns)
    if cost > _WORTH * _cost(rows * columns):
        return False
    total = None
    for part in parts:
        axes = list(zip(padding, (rows, columns), dilation, part, strict=True))
        y = network.call(
            aten.conv2d.default,
            x,
            network.like(_taps(value, part), weight, before=node),
            bias if total is None else None,
            stride,
            [p - (side // 2 - far) * d for p, side, d, (far, _) in axes],
            [step * d for _, _, d, (_, step) in axes],
            groups,
            at=node,
        )
        total = y if total is None else network.call(aten.add.Tensor, total, y, at=node)
    assert total is not None
    network.replace(node, total)
    return True


def _taps(weight: Tensor, part: Part) -> Tensor:
    """The part's taps of a kernel (C, 1, kh, kw)."""
    for axis, (far, step) in zip((2, 3), part, strict=True):
        first = weight.shape[axis] // 2 - far
        weight = weight.index_select(axis, torch.arange(first, first + 2 * far + 1, step))
    return weight


def _count(steps: Steps) -> int:
    far, step = steps
    return 2 * far // step + 1


def _cost(taps: int) -> float:
    """What a kernel costs, in taps of a fast one."""
    return next((float(fast) for fast in _FAST if taps <= fast), _SLOW_TAP * taps)


@functools.cache
def _cheapest(rows: int, columns: int) -> tuple[tuple[Part, ...], float]:
    """Parts of a kernel of that size, and what they cost together."""
    cost, parts = _by_rows(rows, columns)
    turned_cost, turned = _by_rows(columns, rows)
    if turned_cost < cost:
        cost, parts = turned_cost, [(down, across) for across, down in turned]
    return tuple(parts), cost - _ADDITION


def _by_rows(rows: int, columns: int) -> tuple[float, list[Part]]:
    """Rows in steps, and columns in steps for each of them."""
    ways = {}
    for count in range(1, rows + 1):
        prices = [_cost(count * n) + _ADDITION for n in range(columns + 1)]
        ways[count] = _partition(columns, prices)
    cost, down = _partition(rows, [math.inf, *(ways[n][0] for n in range(1, rows + 1))])
    return cost, [(steps, across) for steps in down for across in ways[_count(steps)][1]]


def _partition(length: int, prices: Sequence[float]) -> tuple[float, tuple[Steps, ...]]:
    """The cheapest way to take `length` taps in steps, of which one with n taps costs prices[n]."""

    @functools.cache
    def best(left: frozenset[int]) -> tuple[float, tuple[Steps, ...]]:
        if not left:
            return 0.0, ()
        far = max(left)
        options = []
        for step in (s for s in range(1, 2 * far + 1) if 2 * far % s == 0) if far else (1,):
            taken = {abs(far - i * step) for i in range(_count((far, step)))}
            if taken <= left:
                cost, rest = best(left - taken)
                options.append((prices[_count((far, step))] + cost, ((far, step), *rest)))
        return min(options)

    return best(frozenset(range(length // 2 + 1)))
