"""Grids of sampling points along an axis, and reading an image between its pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from ..values import UnknownOperator


def grid(operator: str, mode: str, size: int, count: int) -> Tensor:
    """`count` points in [0, size - 1] at which `mode` samples an axis of `size` elements.

    The modes are those of `resize_bilinear` in the operator reference. DEFAULT is TensorFlow's
    ResizeBilinear without half_pixel_centers, UNALIGN_CORNERS with it, STRICT_ALIGN_CORNERS with
    align_corners; OFFSET_CORNERS is RoI Align.
    """
    start, spacing = interval(operator, mode, 0.0, size - 1.0, count)
    points = start + spacing * torch.arange(count, dtype=torch.float64)
    return points.clamp(0, size - 1)


def interval(
    operator: str, mode: str, first: float, last: float, count: int
) -> tuple[float, float]:
    """Start and spacing of `count` points between two pixels, before they are clamped."""
    length = last - first
    size = length + 1
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if count > 1:
            return first, length / (count - 1)
        return (first if mode == "STRICT_ALIGN_CORNERS" else first + length / 2), 0.0
    if mode == "DEFAULT":
        return first, size / count
    if mode == "OFFSET_CORNERS":
        spacing = max(1.0, length) / count
        return first + 0.5 * spacing, spacing
    if mode == "UNALIGN_CORNERS":
        spacing = size / count
        return first + 0.5 * spacing - 0.5, spacing
    raise UnknownOperator(operator, f"sampling_mode {mode}")


def linear(x: Tensor, axis: int, points: Tensor) -> Tensor:
    """Values of x at points along an axis, linear between its elements."""
    below = points.floor()
    lower = below.long()
    upper = (lower + 1).clamp(max=x.shape[axis] - 1)
    shape = [-1 if place == axis % x.dim() else 1 for place in range(x.dim())]
    weight = (points - below).to(x.dtype).reshape(shape)
    return torch.lerp(x.index_select(axis, lower), x.index_select(axis, upper), weight)


def bilinear(image: Tensor, rows: Tensor, columns: Tensor, outside: float | None) -> Tensor:
    """(C,H,W) at points (N) between pixels: (C,N).

    Pixels beyond the image count as `outside`; None says that no point lies there.
    """
    top, left = rows.floor(), columns.floor()
    down, right = (rows - top).to(image.dtype), (columns - left).to(image.dtype)
    y, x = top.long(), left.long()
    upper = torch.lerp(_pixels(image, y, x, outside), _pixels(image, y, x + 1, outside), right)
    lower = torch.lerp(
        _pixels(image, y + 1, x, outside), _pixels(image, y + 1, x + 1, outside), right
    )
    return torch.lerp(upper, lower, down)


def nearest(image: Tensor, rows: Tensor, columns: Tensor, outside: float | None) -> Tensor:
    """(C,H,W) at the pixels nearest to points (N), halves to the even one: (C,N)."""
    return _pixels(image, rows.round().long(), columns.round().long(), outside)


def _pixels(image: Tensor, rows: Tensor, columns: Tensor, outside: float | None) -> Tensor:
    height, width = image.shape[-2:]
    y, x = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    values = image[:, y, x]
    if outside is None:
        return values
    return values.masked_fill((y != rows) | (x != columns), outside)
