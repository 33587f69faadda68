"""Affine quantisation of tensors to 8-bit integers and back."""

from __future__ import annotations

import torch
from torch import Tensor

from ..numerics import HELD
from ..values import UnknownOperator
from .arguments import integer
from .registry import operator


@operator("quantize")
def quantize(
    input: Tensor,
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor | None = None,
    axis: Tensor | None = None,
) -> Tensor:
    """clip(round(input / scale) + zero_point); scale and zero point for all or along `axis`."""
    if output_dtype not in ("int8", "uint8"):
        raise UnknownOperator("quantize", f"output_dtype {output_dtype}")
    levels = torch.round(input / _broadcast(scale, input, axis))
    if zero_point is not None:
        levels = levels + _broadcast(zero_point, input, axis)
    limits = torch.iinfo(HELD[output_dtype])
    return levels.clamp(limits.min, limits.max).to(HELD[output_dtype])


@operator("dequantize")
def dequantize(
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    axis: Tensor | None = None,
) -> Tensor:
    """The product scale * (input - zero_point); scale and zero point for all or along `axis`."""
    levels = input.to(scale.dtype)
    if zero_point is not None:
        levels = levels - _broadcast(zero_point, input, axis).to(scale.dtype)
    return _broadcast(scale, input, axis) * levels


def _broadcast(parameter: Tensor, data: Tensor, axis: Tensor | None) -> Tensor:
    if parameter.dim() == 0:
        return parameter
    place = integer(axis, 0) % data.dim()
    return parameter.reshape([-1 if a == place else 1 for a in range(data.dim())])
