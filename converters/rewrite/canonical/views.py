"""Calls that move data, made so that none does what another one, or nothing, does already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node

from ..network import Network, shape_of

aten = torch.ops.aten


def reshape(network: Network, x: Any, shape: Sequence[int], *, at: Node) -> Node:
    """`x` in another shape; reshapes of reshapes are one."""
    while x.op == "call_function" and x.target is aten.reshape.default:
        x = x.args[0]
    if shape_of(x) == tuple(shape):
        return x
    return network.call(aten.reshape.default, x, list(shape), at=at)


def permute(network: Network, x: Any, axes: Sequence[int], *, at: Node) -> Node:
    """`x` with its axes in another order; permutations of permutations are one."""
    axes = list(axes)
    if x.op == "call_function" and x.target is aten.permute.default:
        inner = x.args[1]
        axes = [inner[axis] for axis in axes]
        x = x.args[0]
    if axes == sorted(axes):
        return x
    return network.call(aten.permute.default, x, axes, at=at)


def expand(network: Network, x: Any, shape: Sequence[int], *, at: Node) -> Node:
    """`x` with new axes before, and with copies along axes of size 1."""
    if x.op == "call_function" and x.target is aten.expand.default:
        x = x.args[0]
    if shape_of(x) == tuple(shape):
        return x
    return network.call(aten.expand.default, x, list(shape), at=at)


def sliced(network: Network, x: Any, axis: int, start: int, end: int, *, at: Node) -> Node:
    """What `x` holds from `start` up to `end` on an axis."""
    if (start, end) == (0, shape_of(x)[axis]):
        return x
    return network.call(aten.slice.Tensor, x, axis, start, end, at=at)


def joined(network: Network, parts: Sequence[Node], axis: int, *, at: Node) -> Node:
    """The parts behind each other on an axis, those without extent left out."""
    kept = [part for part in parts if shape_of(part)[axis]] or list(parts[:1])
    return kept[0] if len(kept) == 1 else network.call(aten.cat.default, kept, axis, at=at)
