"""Boxes of images against TensorFlow and values of the reference's tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, argument, known, normal

SQUARE = np.arange(1.0, 17).reshape(1, 1, 4, 4)
IMAGE = normal(2, 3, 4, 5)
CORNERS = np.array([[0.1, 0.3, 1.3, 1.0], [0.5, 1.8, 1.0, 0.3], [0.0, 0.4, 0.6, 0.7]])
# Where the grids of these boxes leave the image they give the padding.
PADDED = np.array([[3.1, 5.2, 9, 9], [9, 7.9, 9, 13.9], [2.2, 3.1, 9.4, 10.3]])


def roi(*rows: list[float]) -> np.ndarray:
    return np.array(rows).reshape(len(rows), 1, -1, 1, 1)


BOX: dict[str, Any] = {"target_height": 2, "target_width": 2, "sampling_mode": "ALIGN_CORNERS"}

CASES = [
    known("crop", IMAGE[:, :, 1:-2, 2:], x=IMAGE, crop_height=[1, 2], crop_width=[2, 0]),
    known("crop", IMAGE[0, :, :, :-3], x=IMAGE[0], crop_height=[0, 0], crop_width=[0, 3]),
    # Boxes of the reference's tests, in every way to say where a box is.
    known("crop_resize", np.array([[[[[6.0, 7], [10, 11]]]]]),
          x=SQUARE, roi=roi([1, 1, 2, 2]), **BOX),
    known("crop_resize", np.array([[[[[8.5]]]]]), x=SQUARE, roi=roi([1, 1, 2, 2]),
          sampling_mode="ALIGN_CORNERS"),
    known("crop_resize", np.array([[[[[6.0]]]]]), x=SQUARE, roi=roi([1, 1, 2, 2]),
          sampling_mode="STRICT_ALIGN_CORNERS"),
    known("crop_resize", np.array([[[[[1.0, 2], [5, 6]]]]]), x=SQUARE,
          roi=roi([0, 0, 0, 1 / 3, 1 / 3]), normalized_coordinates=True, **BOX),
    known("crop_resize", np.array([[[[[11.0, 10], [7, 6]]]]]), x=SQUARE,
          roi=roi([2, 2, 1, 1]), **BOX),
    known("crop_resize", PADDED.reshape(3, 1, 1, 2, 2), x=SQUARE,
          roi=np.pad(CORNERS, ((0, 0), (1, 0))).reshape(3, 1, 5, 1, 1),
          normalized_coordinates=True, pad_value=9.0, op_set="CoreML6", **BOX),
    known("crop_resize", PADDED.reshape(3, 1, 2, 2), x=SQUARE, boxes=CORNERS,
          box_indices=np.zeros(3, dtype=np.int32), normalized_coordinates=True, pad_value=9.0,
          op_set="CoreML7", **BOX),
    known("crop_resize", IMAGE[[0, 1]][:, :, 1:3, 2:4], x=IMAGE,
          boxes=np.array([[1.0, 2, 2, 3], [1, 2, 2, 3]]), op_set="CoreML7", **BOX),
    known("crop_resize", IMAGE[None, :, :, 1:3, 2:4], x=IMAGE, roi=roi([1, 2, 2, 3]), **BOX),
    known("crop_resize", IMAGE[[[1], [0]], :, 1:3, 2:4], x=IMAGE,
          roi=roi([1, 1, 2, 2, 3], [0, 1, 2, 2, 3]), **BOX),
    known("crop_resize", IMAGE[None, :, :, 1:3, 2:4], x=IMAGE, roi=roi([2, 1, 3, 2]),
          box_coordinate_mode="CORNERS_WIDTH_FIRST", **BOX),
    known("crop_resize", IMAGE[None, :, :, 1:3, 2:4], x=IMAGE, roi=roi([1.5, 2.5, 1, 1]),
          box_coordinate_mode="CENTER_SIZE_HEIGHT_FIRST", **BOX),
    known("crop_resize", IMAGE[None, :, :, 1:3, 1:5:3], x=IMAGE, roi=roi([2.5, 1.5, 3, 1]),
          box_coordinate_mode="CENTER_SIZE_WIDTH_FIRST", **BOX),
    known("crop_resize", IMAGE[None, :, :, 1:3, 2:4], x=IMAGE, roi=roi([2, 4, 4, 6]),
          spatial_scale=0.5, **BOX),
    # Two columns between 0 and 2: DEFAULT at 0 and 1.5, RoI Align at 0.5 and 1.5.
    known("crop_resize", np.array([[[[[1.0, 2.5], [7, 8.5]]]]]), x=SQUARE,
          roi=roi([0, 0, 2, 2]), target_height=2, target_width=2, sampling_mode="DEFAULT"),
    known("crop_resize", np.array([[[[[3.5, 4.5], [7.5, 8.5]]]]]), x=SQUARE,
          roi=roi([0, 0, 2, 2]), target_height=2, target_width=2,
          sampling_mode="OFFSET_CORNERS"),
    # RoI Align takes a box for no smaller than a pixel: its columns lie at 1.25 and 1.75.
    known("crop_resize", np.array([[[[[7.25, 7.75], [9.25, 9.75]]]]]), x=SQUARE,
          roi=roi([1, 1, 1.5, 1.5]), target_height=2, target_width=2,
          sampling_mode="OFFSET_CORNERS"),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


def test_tensorflow_crops_and_resizes_alike() -> None:
    import tensorflow as tf

    image = normal(2, 3, 6, 7).astype(np.float32)
    boxes = np.random.default_rng(0).uniform(-0.2, 1.2, (8, 4)).astype(np.float32)
    owners = np.array([0, 1, 1, 0, 1, 0, 0, 1], dtype=np.int32)
    theirs = tf.image.crop_and_resize(
        image.transpose(0, 2, 3, 1), boxes, owners, [3, 4], extrapolation_value=0.5
    )
    options = {"target_height": 3, "target_width": 4, "normalized_coordinates": True}
    ours = OPERATORS["crop_resize"](
        x=torch.tensor(image),
        boxes=torch.tensor(boxes),
        box_indices=torch.tensor(owners),
        sampling_mode="ALIGN_CORNERS",
        pad_value=torch.tensor(0.5),
        op_set="CoreML7",
        **{key: argument(value, torch.float32) for key, value in options.items()},
    )
    np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 3, 1, 2), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"roi": roi([3, 3, 4, 4])}, "leaves the image"),
        ({"sampling_mode": "UNALIGN_CORNERS"}, "UNALIGN_CORNERS"),
        ({"sampling_mode": "DEFAULT", "roi": roi([2, 2, 1, 1])}, "DEFAULT of such a box"),
        ({"box_coordinate_mode": "POLAR"}, "POLAR"),
    ],
    ids=["outside", "unaligned", "backwards", "polar"],
)
def test_boxes_that_the_reference_does_not_define_are_refused(
    options: dict[str, Any], reason: str
) -> None:
    given = {"x": SQUARE, "roi": roi([1, 1, 2, 2])} | BOX | options
    arguments = {key: argument(value, torch.float32) for key, value in given.items()}
    with pytest.raises(UnknownOperator, match=reason):
        OPERATORS["crop_resize"](**arguments)
