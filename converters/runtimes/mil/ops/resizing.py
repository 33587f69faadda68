"""Resizing the last axes of a tensor by factors or to sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..values import UnknownOperator
from .arguments import flag, integer, integers, number
from .registry import operator
from .sampling import grid, linear


def _scaled(size: int, factor: Tensor | None) -> int:
    return int(size * number(factor, 1.0))


def _resize_linear(x: Tensor, name: str, mode: str, sizes: dict[int, int]) -> Tensor:
    for axis, size in sizes.items():
        if size != x.shape[axis] or mode == "OFFSET_CORNERS":
            x = linear(x, axis, grid(name, mode, x.shape[axis], size))
    return x


def _resize_nearest(x: Tensor, sizes: dict[int, int], centre: float) -> Tensor:
    """Element floor((i + centre) * old / new) of each axis becomes element i."""
    for axis, size in sizes.items():
        if size != x.shape[axis]:
            places = (torch.arange(size, dtype=torch.float64) + centre) * x.shape[axis] / size
            x = x.index_select(axis, places.long())
    return x


@operator("upsample_nearest_neighbor")
def upsample_nearest_neighbor(
    x: Tensor,
    scale_factor_height: Tensor | None = None,
    scale_factor_width: Tensor | None = None,
) -> Tensor:
    """(...,H,W) enlarged: TensorFlow's ResizeNearestNeighbor without half_pixel_centers."""
    height = _scaled(x.shape[-2], scale_factor_height)
    width = _scaled(x.shape[-1], scale_factor_width)
    return _resize_nearest(x, {-2: height, -1: width}, 0.0)


@operator("resize_nearest_neighbor")
def resize_nearest_neighbor(
    x: Tensor, target_size_height: Tensor, target_size_width: Tensor
) -> Tensor:
    """(...,H,W) to a size: TensorFlow's ResizeNearestNeighbor with half_pixel_centers."""
    sizes = {-2: int(target_size_height), -1: int(target_size_width)}
    return _resize_nearest(x, sizes, 0.5)


@operator("upsample_bilinear")
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: Tensor | None = None,
    scale_factor_width: Tensor | None = None,
    align_corners: Tensor | None = None,
    half_pixel_centers: Tensor | None = None,
) -> Tensor:
    """(...,H,W) enlarged; the points lie as the new size says, not as a fractional factor does."""
    height = _scaled(x.shape[-2], scale_factor_height)
    width = _scaled(x.shape[-1], scale_factor_width)
    aligned = flag(align_corners, True)
    centred = flag(half_pixel_centers, not aligned)
    if aligned and centred:
        raise UnknownOperator("upsample_bilinear", "align_corners with half_pixel_centers")
    mode = "STRICT_ALIGN_CORNERS" if aligned else "UNALIGN_CORNERS" if centred else "DEFAULT"
    return _resize_linear(x, "upsample_bilinear", mode, {-2: height, -1: width})


@operator("resize_bilinear")
def resize_bilinear(
    x: Tensor,
    target_size_height: Tensor | None = None,
    target_size_width: Tensor | None = None,
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """(...,H,W) to a size, 1 unless given."""
    sizes = {-2: integer(target_size_height, 1), -1: integer(target_size_width, 1)}
    return _resize_linear(x, "resize_bilinear", sampling_mode, sizes)


@operator("resize")
def resize(
    x: Tensor,
    shape: Tensor,
    resized_dims: Tensor,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """The last `resized_dims` axes to the last sizes of `shape`; a size of 0 leaves an axis.

    NEAREST_NEIGHBOR with DEFAULT is TensorFlow's ResizeNearestNeighbor with half_pixel_centers.
    """
    count = int(resized_dims)
    wanted = integers(shape)
    sizes = {
        axis: size
        for axis, size in zip(range(-count, 0), wanted[len(wanted) - count :], strict=True)
        if size
    }
    if interpolation_mode == "LINEAR":
        return _resize_linear(x, "resize", sampling_mode, sizes)
    if (interpolation_mode, sampling_mode) != ("NEAREST_NEIGHBOR", "DEFAULT"):
        raise UnknownOperator("resize", f"{interpolation_mode} with {sampling_mode}")
    return _resize_nearest(x, sizes, 0.5)
