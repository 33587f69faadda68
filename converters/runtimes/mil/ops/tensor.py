"""Making, joining, dividing and filling tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..values import UnknownOperator
from .arguments import flag, integer, integers, number, positive
from .registry import operator


@operator("identity")
def identity(x: object) -> object:
    """A tensor or list as it is."""
    return x


@operator("shape")
def shape(x: Tensor) -> Tensor:
    """The sizes of x, (rank)."""
    return torch.tensor(x.shape, dtype=torch.int32)


@operator("fill")
def fill(shape: Tensor, value: Tensor | None = None) -> Tensor:
    """A tensor of `shape` filled with a number, 0.0 unless given."""
    content = torch.zeros(()) if value is None else value
    return content.reshape(()).expand(integers(shape)).clone()


@operator("fill_like")
def fill_like(ref_tensor: Tensor, value: Tensor | None = None) -> Tensor:
    """A tensor of another's shape filled with a number, 0.0 unless given."""
    content = torch.zeros(()) if value is None else value
    return content.reshape(()).expand(ref_tensor.shape).clone()


@operator("range_1d")
def range_1d(end: Tensor, start: Tensor, step: Tensor) -> Tensor:
    """start, start + step, ... before `end`."""
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


@operator("concat")
def concat(values: list[Tensor], axis: Tensor, interleave: Tensor | None = None) -> Tensor:
    """Tensors one after the other, or slice by slice in turn; scalars make a vector."""
    if values[0].dim() == 0:
        return torch.stack(values)
    place = positive(integer(axis, 0), values[0].dim())
    if flag(interleave):
        return torch.stack(values, place + 1).flatten(place, place + 1)
    return torch.cat(values, place)


@operator("stack")
def stack(values: list[Tensor], axis: Tensor) -> Tensor:
    """Tensors of one shape along a new axis."""
    return torch.stack(values, integer(axis, 0))


@operator("split")
def split(
    x: Tensor,
    axis: Tensor,
    num_splits: Tensor | None = None,
    split_sizes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Consecutive parts of x, of the sizes given or all of one size."""
    place = integer(axis, 0)
    if split_sizes is not None:
        return torch.split(x, integers(split_sizes), place)
    return torch.split(x, x.shape[place] // integer(num_splits, 1), place)


@operator("tile")
def tile(x: Tensor, reps: Tensor) -> Tensor:
    """Copies of x side by side along each axis."""
    return x.repeat(integers(reps))


@operator("pad")
def pad(
    x: Tensor, pad: Tensor, mode: str = "constant", constant_val: Tensor | None = None
) -> Tensor:
    """Elements before and after each of the last axes that `pad` has pairs for."""
    amounts = integers(pad)
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
    if mode == "constant":
        order = [amount for pair in reversed(pairs) for amount in pair]
        return F.pad(x, order, value=number(constant_val, 0.0))
    if mode not in ("reflect", "replicate"):
        raise UnknownOperator("pad", f"mode {mode}")
    for axis, (before, after) in enumerate(pairs, x.dim() - len(pairs)):
        last = x.shape[axis] - 1
        places = torch.arange(-before, last + after + 1)
        if mode == "reflect":
            if max(before, after) > last:
                raise UnknownOperator("pad", "reflect of more elements than there are")
            places = last - (last - places.abs()).abs()
        x = x.index_select(axis, places.clamp(0, last))
    return x


@operator("one_hot")
def one_hot(
    indices: Tensor,
    one_hot_vector_size: Tensor,
    axis: Tensor | None = None,
    on_value: Tensor | None = None,
    off_value: Tensor | None = None,
) -> Tensor:
    """on_value (1) where the place along a new axis equals the index, off_value (0) elsewhere."""
    rank = indices.dim() + 1
    place = positive(integer(axis, -1), rank)
    classes = torch.arange(int(one_hot_vector_size))
    hot = indices.unsqueeze(place) == classes.reshape([-1] + [1] * (rank - place - 1))
    on = torch.ones((), dtype=torch.int32) if on_value is None else on_value
    off = torch.zeros((), dtype=on.dtype) if off_value is None else off_value
    return torch.where(hot, on, off)


@operator("band_part")
def band_part(x: Tensor, lower: Tensor | None = None, upper: Tensor | None = None) -> Tensor:
    """Matrices (...,M,N) with 0 outside a band of diagonals; a negative number keeps all."""
    rows = torch.arange(x.shape[-2]).unsqueeze(1)
    below = rows - torch.arange(x.shape[-1])  # how far each element lies below the diagonal
    keep = torch.ones_like(below, dtype=torch.bool)
    down, up = integer(lower, -1), integer(upper, -1)
    if down >= 0:
        keep &= below <= down
    if up >= 0:
        keep &= -below <= up
    return torch.where(keep, x, torch.zeros((), dtype=x.dtype))


@operator("cumsum")
def cumsum(
    x: Tensor,
    axis: Tensor | None = None,
    exclusive: Tensor | None = None,
    reverse: Tensor | None = None,
) -> Tensor:
    """Sums along `axis` (0) up to each element; without it if exclusive, backwards if reverse."""
    place = positive(integer(axis, 0), x.dim())
    values = x.flip(place) if flag(reverse) else x
    sums = torch.cumsum(values, place, dtype=x.dtype)
    if flag(exclusive):
        first = torch.zeros_like(sums.narrow(place, 0, 1))
        sums = torch.cat([first, sums.narrow(place, 0, sums.shape[place] - 1)], place)
    return sums.flip(place) if flag(reverse) else sums


@operator("non_zero")
def non_zero(x: Tensor) -> Tensor:
    """The places (n, rank) of what is not 0."""
    return torch.nonzero(x).to(torch.int32)
