"""Resizing against the points of the reference, TensorFlow, and values of the reference's tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, argument, known, normal

IMAGE = normal(2, 3, 4, 5)
EDGE = np.array([[[0.0, 1.0]]])


def points(mode: str, size: int, count: int) -> np.ndarray:
    """The grid of the reference's notes on sampling_mode, which divides by Xout - 1."""
    i = np.arange(count)
    if mode == "STRICT_ALIGN_CORNERS":
        grid = i * (size - 1) / (count - 1)
    elif mode == "DEFAULT":
        grid = i * (size - size / count) / (count - 1)
    elif mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / count
        grid = 0.5 * delta + i * ((count - 1) * delta) / (count - 1)
    else:
        grid = i * size / count + 0.5 * size / count - 0.5
    return np.clip(grid, 0, size - 1)


def sampled(x: np.ndarray, axis: int, grid: np.ndarray) -> np.ndarray:
    return np.apply_along_axis(lambda line: np.interp(grid, np.arange(len(line)), line), axis, x)


def resized(x: np.ndarray, mode: str, height: int, width: int) -> np.ndarray:
    rows = sampled(x, -2, points(mode, x.shape[-2], height))
    return sampled(rows, -1, points(mode, x.shape[-1], width))


def chosen(x: np.ndarray, rows: list[int], columns: list[int]) -> np.ndarray:
    return x[..., rows, :][..., columns]


MODES = ("STRICT_ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS")
# Examples of the reference: two pixels, 0 and 1, made five and six.
EXAMPLES = {
    "UNALIGN_CORNERS": ([0, 0.1, 0.5, 0.9, 1], [0, 0, 1 / 3, 2 / 3, 1, 1]),
    "STRICT_ALIGN_CORNERS": ([0, 0.25, 0.5, 0.75, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]),
    "ALIGN_CORNERS": ([0, 0.25, 0.5, 0.75, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]),
    "DEFAULT": ([0, 0.4, 0.8, 1, 1], [0, 1 / 3, 2 / 3, 1, 1, 1]),
    "OFFSET_CORNERS": ([0.1, 0.3, 0.5, 0.7, 0.9], [1 / 12, 0.25, 5 / 12, 7 / 12, 0.75, 11 / 12]),
}

CASES = [
    *(known("resize_bilinear", np.array([[row]]), x=EDGE, target_size_height=1,
            target_size_width=len(row), sampling_mode=mode)
      for mode, rows in EXAMPLES.items() for row in rows),
    *(known("resize_bilinear", resized(IMAGE, mode, *size), x=IMAGE, target_size_height=size[0],
            target_size_width=size[1], sampling_mode=mode)
      for mode in MODES for size in ((7, 3), (2, 10), (4, 5))),
    # ALIGN_CORNERS takes the middle of 4x5 pixels for a single one, the others the first.
    known("resize_bilinear", IMAGE[:, :, 1:3, 2:3].mean(2, keepdims=True), x=IMAGE,
          target_size_height=1, target_size_width=1, sampling_mode="ALIGN_CORNERS"),
    known("resize_bilinear", IMAGE[:, :, :1, :1], x=IMAGE, sampling_mode="DEFAULT"),
    known("resize_bilinear", IMAGE[:, :, :1, :1], x=IMAGE, sampling_mode="STRICT_ALIGN_CORNERS"),
    known("upsample_bilinear", resized(IMAGE, "STRICT_ALIGN_CORNERS", 8, 15),
          x=IMAGE, scale_factor_height=2, scale_factor_width=3),
    known("upsample_bilinear", resized(IMAGE, "UNALIGN_CORNERS", 8, 15),
          x=IMAGE, scale_factor_height=2, scale_factor_width=3, align_corners=False),
    known("upsample_bilinear", resized(IMAGE, "DEFAULT", 8, 15),
          x=IMAGE, scale_factor_height=2, scale_factor_width=3, align_corners=False,
          half_pixel_centers=False),
    # The grid follows the size of 5, not the factor of 2.6.
    known("upsample_bilinear", np.array([[[0, 0.1, 0.5, 0.9, 1]]]),
          x=EDGE, scale_factor_height=1.0, scale_factor_width=2.6, align_corners=False),
    known("upsample_nearest_neighbor", IMAGE.repeat(2, -2).repeat(3, -1),
          x=IMAGE, scale_factor_height=2, scale_factor_width=3),
    known("upsample_nearest_neighbor", IMAGE, x=IMAGE),
    # Values of the reference's tests with fractional factors.
    known("upsample_nearest_neighbor", np.array([[[1.5, -2.5]] * 3]),
          x=np.array([[[1.5, -2.5, 3.5]]]), scale_factor_height=3.17, scale_factor_width=0.67),
    known("upsample_nearest_neighbor", np.array([[[1.5, -2.5, 3.5]] * 2]),
          x=np.array([[[1.5, -2.5, 3.5]]]), scale_factor_height=2.0, scale_factor_width=1.12),
    known("resize_nearest_neighbor", np.array([[[0.5] * 3, [6.5] * 3]]),
          x=np.array([[[0.5], [6.5]]]), target_size_height=2, target_size_width=3),
    known("resize_nearest_neighbor", chosen(IMAGE, [0, 2, 3], [1, 3]),
          x=IMAGE, target_size_height=3, target_size_width=2),
    known("resize", chosen(np.array([[[-6.0], [9.0]]]), [0, 1, 1], [0, 0]),
          x=np.array([[[-6.0], [9.0]]]), shape=[1, 3, 2], resized_dims=2,
          interpolation_mode="NEAREST_NEIGHBOR", sampling_mode="DEFAULT"),
    known("resize", np.array([[[0, 0.4, 0.8, 1, 1]]]), x=EDGE, shape=[1, 1, 5], resized_dims=2),
    *(known("resize", resized(IMAGE, mode, 6, 9), x=IMAGE, shape=[6, 9], resized_dims=2,
            interpolation_mode="LINEAR", sampling_mode=mode) for mode in MODES),
    known("resize", resized(IMAGE, "DEFAULT", 4, 9), x=IMAGE, shape=[7, 0, 9], resized_dims=2),
    known("resize", sampled(resized(IMAGE, "DEFAULT", 6, 9), 1, points("DEFAULT", 3, 5)),
          x=IMAGE, shape=[5, 6, 9], resized_dims=3),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


@pytest.mark.parametrize("size", [(7, 3), (2, 10), (8, 15), (3, 4)], ids=str)
@pytest.mark.parametrize(
    ("name", "mode", "kernel", "aligned", "centred"),
    [
        ("resize_bilinear", "DEFAULT", "ResizeBilinear", False, False),
        ("resize_bilinear", "UNALIGN_CORNERS", "ResizeBilinear", False, True),
        ("resize_bilinear", "STRICT_ALIGN_CORNERS", "ResizeBilinear", True, False),
        ("resize_nearest_neighbor", None, "ResizeNearestNeighbor", False, True),
    ],
    ids=str,
)
def test_tensorflow_resizes_alike(
    name: str,
    mode: str | None,
    kernel: str,
    aligned: bool,
    centred: bool,
    size: tuple[int, int],
) -> None:
    """The reference names the kernels of TensorFlow that its modes repeat."""
    import tensorflow as tf

    image = normal(2, 3, 4, 5).astype(np.float32)
    height, width = (argument(n, torch.float32) for n in size)
    options = {"sampling_mode": mode} if mode else {}
    ours = OPERATORS[name](
        x=torch.tensor(image), target_size_height=height, target_size_width=width, **options
    )
    theirs = getattr(tf.raw_ops, kernel)(
        images=image.transpose(0, 2, 3, 1),
        size=size,
        align_corners=aligned,
        half_pixel_centers=centred,
    )
    np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 3, 1, 2), atol=2e-6)


@pytest.mark.parametrize("factor", [2, 3, 1.5, 0.5, 1.26], ids=str)
def test_upsampling_is_tensorflows_resizing_without_half_pixels(factor: float) -> None:
    import tensorflow as tf

    image = normal(1, 2, 4, 8).astype(np.float32)
    scale = torch.tensor(factor)
    ours = OPERATORS["upsample_nearest_neighbor"](
        x=torch.tensor(image), scale_factor_height=scale, scale_factor_width=scale
    )
    theirs = tf.raw_ops.ResizeNearestNeighbor(
        images=image.transpose(0, 2, 3, 1), size=[int(4 * factor), int(8 * factor)]
    )
    np.testing.assert_array_equal(ours, theirs.numpy().transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("resize_bilinear", {"sampling_mode": "HALF"}, "sampling_mode HALF"),
        (
            "upsample_bilinear",
            {"align_corners": True, "half_pixel_centers": True},
            "align_corners with",
        ),
        (
            "resize",
            {
                "interpolation_mode": "NEAREST_NEIGHBOR",
                "sampling_mode": "ALIGN_CORNERS",
                "shape": [4, 4],
                "resized_dims": 2,
            },
            "NEAREST_NEIGHBOR with ALIGN_CORNERS",
        ),
    ],
    ids=str,
)
def test_modes_that_the_reference_does_not_define_are_refused(
    name: str, options: dict[str, object], reason: str
) -> None:
    options = {key: argument(value, torch.float32) for key, value in options.items()}
    with pytest.raises(UnknownOperator, match=reason):
        OPERATORS[name](x=torch.ones(1, 2, 3), **options)
