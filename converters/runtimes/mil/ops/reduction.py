"""Reductions over some axes, all unless given; an integer reduced stays an integer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..numerics import HELD
from .arguments import flag, integer, integers
from .registry import operator

Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in axes:
        x = torch.prod(x, axis, keepdim=True)
    return x if keep else x.squeeze(axes)


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.sum(x, dim=axes, keepdim=keep)


REDUCTIONS: dict[str, Reduce] = {
    "reduce_l1_norm": lambda x, axes, keep: _sum(torch.abs(x), axes, keep),
    "reduce_l2_norm": lambda x, axes, keep: torch.sqrt(_sum(torch.square(x), axes, keep)),
    "reduce_log_sum": lambda x, axes, keep: torch.log(_sum(x, axes, keep)),
    "reduce_log_sum_exp": lambda x, axes, keep: torch.logsumexp(x, axes, keep),
    "reduce_max": lambda x, axes, keep: torch.amax(x, axes, keep),
    "reduce_mean": lambda x, axes, keep: torch.mean(x, axes, keep),
    "reduce_min": lambda x, axes, keep: torch.amin(x, axes, keep),
    "reduce_prod": _product,
    "reduce_sum": _sum,
    "reduce_sum_square": lambda x, axes, keep: _sum(torch.square(x), axes, keep),
}


def _reduction(reduce: Reduce) -> Callable[..., Tensor]:
    def apply(x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None) -> Tensor:
        chosen = integers(axes, range(x.dim()))
        if x.is_floating_point():
            return reduce(x, chosen, flag(keep_dims))
        return reduce(x.double(), chosen, flag(keep_dims)).to(x.dtype)

    return apply


for _name, _reduce in REDUCTIONS.items():
    operator(_name)(_reduction(_reduce))


@operator("reduce_argmax")
def reduce_argmax(
    x: Tensor,
    axis: Tensor | None = None,
    keep_dims: Tensor | None = None,
    output_dtype: str = "int32",
) -> Tensor:
    """Where the maximum along `axis` (the last unless given) is; the first of equals."""
    return torch.argmax(x, integer(axis, -1), flag(keep_dims)).to(HELD[output_dtype])


@operator("reduce_argmin")
def reduce_argmin(
    x: Tensor,
    axis: Tensor | None = None,
    keep_dims: Tensor | None = None,
    output_dtype: str = "int32",
) -> Tensor:
    """Where the minimum along `axis` (the last unless given) is; the first of equals."""
    return torch.argmin(x, integer(axis, -1), flag(keep_dims)).to(HELD[output_dtype])
