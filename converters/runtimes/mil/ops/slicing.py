"""Parts of a tensor by their indices, read and replaced."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .arguments import integers, positive
from .registry import operator


@operator("slice_by_size")
def slice_by_size(x: Tensor, begin: Tensor, size: Tensor) -> Tensor:
    """`size` elements from `begin` along each axis; -1 for all that follow."""
    for axis, (start, length) in enumerate(zip(integers(begin), integers(size), strict=True)):
        whole = x.shape[axis]
        start = start + whole if start < 0 else start
        x = x.narrow(axis, start, whole - start if length == -1 else length)
    return x


@operator("slice_by_index")
def slice_by_index(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """x[begin:end:stride] as in NumPy.

    A mask leaves the begin or end open, or takes the one element at `begin` and drops the axis.
    """
    single = integers(squeeze_mask, [0] * x.dim())
    places = _places(x, begin, end, stride, begin_mask, end_mask, single)
    for axis in reversed(range(x.dim())):
        chosen = places[axis]
        if single[axis]:
            x = x.select(axis, chosen[0])
        elif chosen.step > 0:
            x = x[(slice(None),) * axis + (slice(chosen.start, chosen.stop, chosen.step),)]
        else:
            x = x.index_select(axis, torch.tensor(chosen, dtype=torch.int64))
    return x


@operator("slice_update")
def slice_update(
    x: Tensor,
    update: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """A copy of x in which the elements that `slice_by_index` would return are replaced."""
    single = integers(squeeze_mask, [0] * x.dim())
    places = _places(x, begin, end, stride, begin_mask, end_mask, single)
    grid = torch.meshgrid(*(torch.tensor(chosen) for chosen in places), indexing="ij")
    result = x.clone()
    result[grid] = update.reshape(grid[0].shape)
    return result


def _places(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None,
    begin_mask: Tensor | None,
    end_mask: Tensor | None,
    single: Sequence[int],
) -> list[range]:
    """The indices that a slice takes along each axis."""
    ones, zeros = [1] * x.dim(), [0] * x.dim()
    starts, stops, steps = integers(begin), integers(end), integers(stride, ones)
    open_start, open_stop = integers(begin_mask, zeros), integers(end_mask, zeros)
    places = []
    for axis, size in enumerate(x.shape):
        start = None if open_start[axis] else starts[axis]
        stop = None if open_stop[axis] else stops[axis]
        if single[axis]:
            first = positive(start or 0, size)
            places.append(range(first, first + 1))
        else:
            places.append(range(*slice(start, stop, steps[axis]).indices(size)))
    return places
