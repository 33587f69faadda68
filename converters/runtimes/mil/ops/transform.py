"""Changes of shape and order that leave every element as it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..values import UnknownOperator
from .arguments import integer, integers, positive
from .registry import operator, since


@operator("expand_dims")
def expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    """New axes of size 1 at these places of the result."""
    places = integers(axes)
    rank = x.dim() + len(places)
    for place in sorted(positive(place, rank) for place in places):
        x = x.unsqueeze(place)
    return x


@operator("squeeze")
def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Without these axes, or all axes, of size 1; an axis of another size stays."""
    return x.squeeze() if axes is None else x.squeeze(integers(axes))


@operator("reshape")
def reshape(x: Tensor, shape: Tensor, *, op_set: str = "CoreML5") -> Tensor:
    """-1 stands for what remains, 0 for the size of the same axis of x.

    From CoreML7 on axes are matched from the last one, and a 0 without a counterpart is 1.
    """
    sizes = integers(shape)
    if 0 in sizes:
        ahead = len(sizes) - x.dim()
        if ahead and not since(op_set, 7):
            raise UnknownOperator("reshape", "0 in a shape of another rank")
        sizes = [
            size or (x.shape[place - ahead] if place >= ahead else 1)
            for place, size in enumerate(sizes)
        ]
    return x.reshape(sizes)


@operator("reshape_like")
def reshape_like(
    x: Tensor,
    ref_tensors: list[Tensor],
    begins: list[Tensor],
    ends: list[Tensor],
    end_masks: list[Tensor],
) -> Tensor:
    """A shape put together from parts of the shapes of other tensors."""
    sizes: list[int] = []
    for reference, begin, end, whole in zip(ref_tensors, begins, ends, end_masks, strict=True):
        sizes += reference.shape[int(begin) : None if whole else int(end)]
    return x.reshape(sizes)


@operator("flatten2d")
def flatten2d(x: Tensor, axis: Tensor | None = None) -> Tensor:
    """A matrix: the axes before `axis` (1) are its rows."""
    return x.reshape(math.prod(x.shape[: integer(axis, 1)]), -1)


@operator("transpose")
def transpose(x: Tensor, perm: Tensor) -> Tensor:
    """Axis i of the result is axis perm[i] of x."""
    return x.permute(integers(perm))


@operator("reverse")
def reverse(x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Backwards along these axes, or all."""
    return x.flip(integers(axes, range(x.dim())))


@operator("reverse_sequence")
def reverse_sequence(
    x: Tensor,
    lengths: Tensor,
    seq_axis: Tensor | None = None,
    batch_axis: Tensor | None = None,
) -> Tensor:
    """The first lengths[b] elements along `seq_axis` backwards, for each b along `batch_axis`."""
    rank = x.dim()
    along, batch = positive(integer(seq_axis, 0), rank), positive(integer(batch_axis, 0), rank)
    places = torch.arange(x.shape[along]).reshape([-1 if a == along else 1 for a in range(rank)])
    ends = lengths.long().reshape([-1 if a == batch else 1 for a in range(rank)])
    source = torch.where(places < ends, ends - 1 - places, places)
    return x.gather(along, source.expand(x.shape))


@operator("sliding_windows")
def sliding_windows(x: Tensor, axis: Tensor, size: Tensor, stride: Tensor | None = None) -> Tensor:
    """All windows of `size` along an axis, which becomes two: window, place in it."""
    place = positive(int(axis), x.dim())
    return x.unfold(place, int(size), integer(stride, 1)).movedim(-1, place + 1)
