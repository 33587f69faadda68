"""Cutting images: margins, and boxes that are resized."""

from __future__ import annotations

import torch
from torch import Tensor

from ..values import UnknownOperator
from .arguments import flag, integer, integers, number
from .registry import operator, since
from .sampling import interval, linear

ALIGNED = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS")


@operator("crop")
def crop(x: Tensor, crop_height: Tensor, crop_width: Tensor) -> Tensor:
    """(...,H,W) without so many rows above and below, columns left and right."""
    top, bottom = integers(crop_height)
    left, right = integers(crop_width)
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


@operator("crop_resize")
def crop_resize(
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
    target_height: Tensor | None = None,
    target_width: Tensor | None = None,
    normalized_coordinates: Tensor | None = None,
    spatial_scale: Tensor | None = None,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: Tensor | None = None,
    *,
    op_set: str = "CoreML5",
) -> Tensor:
    """Boxes of x (B,C,H,W) resized; a point outside of the image is `pad_value` (0).

    Up to CoreML6 the boxes are `roi` (N,1,4,1,1) for every image: (N,B,C,h,w), or (N,1,5,1,1) with
    the index of an image first: (N,1,C,h,w). From CoreML7 on they are `boxes` (N,4) for the
    images `box_indices` (N): (N,C,h,w). CoreML5 does not say what lies outside.
    """
    channels, rows, columns = x.shape[1:]
    height, width = integer(target_height, 1), integer(target_width, 1)
    scale = number(spatial_scale, 1.0)
    unit_y, unit_x = (rows - 1, columns - 1) if flag(normalized_coordinates) else (1, 1)
    crops = []
    for box, images in _boxes(x, roi, boxes, box_indices):
        top, left, bottom, right = (v * scale for v in _corners(box, box_coordinate_mode))
        down = _points(sampling_mode, top * unit_y, bottom * unit_y, height)
        across = _points(sampling_mode, left * unit_x, right * unit_x, width)
        beyond = _beyond(down, rows).unsqueeze(1) | _beyond(across, columns)
        if not since(op_set, 6) and bool(beyond.any()):
            raise UnknownOperator("crop_resize", "a box that leaves the image")
        inside = linear(x[images], -2, down.clamp(0, rows - 1))
        inside = linear(inside, -1, across.clamp(0, columns - 1))
        crops.append(inside.masked_fill(beyond, number(pad_value, 0.0)))
    if boxes is not None:
        return torch.cat(crops)
    return torch.stack(crops).reshape(len(crops), -1, channels, height, width)


def _boxes(
    x: Tensor, roi: Tensor | None, boxes: Tensor | None, box_indices: Tensor | None
) -> list[tuple[list[float], list[int]]]:
    """Four numbers for each box, and the images that it is cut from."""
    if boxes is not None:
        count = len(boxes)
        owners = integers(box_indices, range(count))
        return [(box, [owner]) for box, owner in zip(boxes.tolist(), owners, strict=True)]
    if roi is None:
        raise UnknownOperator("crop_resize", "without boxes")
    table = roi.reshape(roi.shape[0], -1).tolist()
    whole = list(range(x.shape[0]))
    return [(row[-4:], [int(row[0])] if len(row) == 5 else whole) for row in table]


def _corners(box: list[float], mode: str) -> tuple[float, float, float, float]:
    """Top, left, bottom and right of a box."""
    a, b, c, d = box
    if mode.endswith("WIDTH_FIRST"):
        a, b, c, d = b, a, d, c
    if mode.startswith("CENTER_SIZE"):
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    if mode.startswith("CORNERS"):
        return a, b, c, d
    raise UnknownOperator("crop_resize", f"box_coordinate_mode {mode}")


def _points(mode: str, first: float, last: float, count: int) -> Tensor:
    """Where a box is sampled along an axis; a box of negative length only with its ends."""
    if mode == "UNALIGN_CORNERS" or (last < first and mode not in ALIGNED):
        raise UnknownOperator("crop_resize", f"sampling_mode {mode} of such a box")
    start, spacing = interval("crop_resize", mode, first, last, count)
    return start + spacing * torch.arange(count, dtype=torch.float64)


def _beyond(points: Tensor, size: int) -> Tensor:
    return (points < 0) | (points > size - 1)
