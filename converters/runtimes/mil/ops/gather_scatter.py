"""Reading and writing at computed indices.

Up to CoreML6 an index counts from the end if it is negative; from CoreML7 on that is out of
bounds. What an index out of bounds reads or writes is not defined.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..values import UnknownOperator
from .arguments import integer, positive
from .registry import operator, since


def _checked(name: str, indices: Tensor, sizes: int | list[int], op_set: str) -> Tensor:
    """Indices as int64 counted from the start; one size, or one for each place of the last axis."""
    places = indices.long()
    limits = torch.tensor(sizes)
    lowest = 0 if since(op_set, 7) else -limits
    if bool(((places < lowest) | (places >= limits)).any()):
        raise UnknownOperator(name, "an index out of bounds")
    return torch.where(places < 0, places + limits, places)


@operator("gather")
def gather(
    x: Tensor,
    indices: Tensor,
    axis: Tensor | None = None,
    batch_dims: Tensor | None = None,
    validate_indices: Tensor | None = None,
    *,
    op_set: str = "CoreML5",
) -> Tensor:
    """Slices of x at indices of any shape along `axis`, which the shape of the indices replaces.

    The first `batch_dims` axes of x and of the indices are the same and go together.
    """
    place, shared = positive(integer(axis, 0), x.dim()), integer(batch_dims, 0)
    places = _checked("gather", indices, x.shape[place], op_set)
    before, after = x.shape[:place], x.shape[place + 1 :]
    shape = (*before, *places.shape[shared:], *after)
    if not shared:
        return x.index_select(place, places.flatten()).reshape(shape)
    batch, middle = math.prod(x.shape[:shared]), math.prod(x.shape[shared:place])
    table = x.reshape(batch, middle, x.shape[place], math.prod(after))
    rows = places.reshape(batch, 1, -1, 1).expand(-1, middle, -1, table.shape[-1])
    return table.gather(2, rows).reshape(shape)


@operator("gather_along_axis")
def gather_along_axis(
    x: Tensor,
    indices: Tensor,
    axis: Tensor | None = None,
    validate_indices: Tensor | None = None,
    *,
    op_set: str = "CoreML5",
) -> Tensor:
    """Elements of x at indices of its own rank, which say where along `axis` they are."""
    place = positive(integer(axis, 0), x.dim())
    return x.gather(place, _checked("gather_along_axis", indices, x.shape[place], op_set))


@operator("gather_nd")
def gather_nd(
    x: Tensor,
    indices: Tensor,
    batch_dims: Tensor | None = None,
    validate_indices: Tensor | None = None,
    *,
    op_set: str = "CoreML5",
) -> Tensor:
    """Slices of x at indices (...,K), each of K numbers for the axes after the batch axes."""
    shared = integer(batch_dims, 0)
    depth = indices.shape[-1]
    sizes = list(x.shape[shared : shared + depth])
    columns = _checked("gather_nd", indices, sizes, op_set).unbind(-1)
    rank = indices.dim() - 1
    batches = [
        torch.arange(x.shape[axis]).reshape([-1 if a == axis else 1 for a in range(rank)])
        for axis in range(shared)
    ]
    return x[(*batches, *columns)]


@operator("scatter")
def scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: Tensor | None = None,
    mode: str = "add",
    validate_indices: Tensor | None = None,
    *,
    op_set: str = "CoreML5",
) -> Tensor:
    """Slices of data at indices along `axis` combined with those of `updates`."""
    place = positive(integer(axis, 0), data.dim())
    chosen = _checked("scatter", indices, data.shape[place], op_set)
    return _combined("scatter", data, _places(data).index_select(place, chosen), updates, mode)


@operator("scatter_along_axis")
def scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: Tensor | None = None,
    mode: str = "add",
    validate_indices: Tensor | None = None,
    *,
    op_set: str = "CoreML5",
) -> Tensor:
    """Elements of data at indices of its own rank combined with those of `updates`."""
    place = positive(integer(axis, 0), data.dim())
    chosen = _checked("scatter_along_axis", indices, data.shape[place], op_set)
    places = _places(data).gather(place, chosen)
    return _combined("scatter_along_axis", data, places, updates, mode)


@operator("scatter_nd")
def scatter_nd(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    mode: str = "add",
    validate_indices: Tensor | None = None,
    *,
    op_set: str = "CoreML5",
) -> Tensor:
    """Slices of data at indices (...,K) combined with those of `updates`."""
    sizes = list(data.shape[: indices.shape[-1]])
    columns = _checked("scatter_nd", indices, sizes, op_set).unbind(-1)
    return _combined("scatter_nd", data, _places(data)[columns], updates, mode)


def _places(data: Tensor) -> Tensor:
    """The number of each element of a tensor, in the tensor's shape."""
    return torch.arange(data.numel()).reshape(data.shape)


def _combined(name: str, data: Tensor, places: Tensor, updates: Tensor, mode: str) -> Tensor:
    """A copy of data whose elements at `places` are combined with updates, one after the other."""
    flat, where, new = data.flatten().clone(), places.flatten(), updates.flatten()
    if mode == "update":
        flat[where] = new
    elif mode == "sub":
        flat.scatter_reduce_(0, where, -new, "sum")
    elif mode == "div":
        if not data.is_floating_point():
            raise UnknownOperator(name, "div of integers")
        flat /= torch.ones_like(flat).scatter_reduce_(0, where, new, "prod")
    elif mode in _REDUCTIONS:
        flat.scatter_reduce_(0, where, new, _REDUCTIONS[mode])
    else:
        raise UnknownOperator(name, f"mode {mode}")
    return flat.reshape(data.shape)


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
