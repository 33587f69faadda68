"""Images read between their pixels, against loops and values of the reference's tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, argument, known, normal

FOUR = np.array([[[[11.0, 22], [33, 44]]]])
IMAGE = normal(2, 3, 4, 5)
PLACES = normal(2, 3, 2, 2, seed=1) * 1.5
PIXELS = PLACES * 3 + 2


def extended(image: np.ndarray, row: int, column: int, mode: str, value: float) -> np.ndarray:
    """Pixel (C) of an image continued beyond its edges, as the examples of the reference are."""
    places = []
    for place, size in ((row, image.shape[1]), (column, image.shape[2])):
        if mode == "border":
            place = min(max(place, 0), size - 1)
        elif mode == "reflection":
            place = [*range(size), *range(size - 2, 0, -1)][place % (2 * size - 2)]
        elif mode == "symmetric":
            place = [*range(size), *range(size - 1, -1, -1)][place % (2 * size)]
        elif not 0 <= place < size:
            return np.full(len(image), value)
        places.append(place)
    return image[:, places[0], places[1]]


def resampled(x: np.ndarray, pixels: np.ndarray, mode: str, value: float = 0.0) -> np.ndarray:
    """Bilinear mixtures of the four pixels around each place (to the right, down)."""
    result = np.zeros((*x.shape[:2], *pixels.shape[1:3]))
    for b, i, j in np.ndindex(*pixels.shape[:3]):
        right, down = pixels[b, i, j]
        column, row = int(np.floor(right)), int(np.floor(down))
        for r, c in np.ndindex(2, 2):
            weight = (1 - abs(down - row - r)) * (1 - abs(right - column - c))
            result[b, :, i, j] += weight * extended(x[b], row + r, column + c, mode, value)
    return result


def nearest(x: np.ndarray, pixels: np.ndarray, mode: str, value: float = 0.0) -> np.ndarray:
    return resampled(x, np.round(pixels), mode, value)


def scaled(places: np.ndarray, aligned: bool) -> np.ndarray:
    """From [-1, 1] to the pixels of a 4x5 image."""
    size = np.array([5, 4])
    return (places + 1) / 2 * (size - 1) if aligned else (places + 1) / 2 * size - 0.5


def affine(x: np.ndarray, maps: np.ndarray, height: int, width: int) -> np.ndarray:
    places = np.zeros((len(x), height, width, 2))
    for b, i, j in np.ndindex(len(x), height, width):
        u, v = 2 * j / (width - 1) - 1, 2 * i / (height - 1) - 1
        places[b, i, j] = maps[b % len(maps)].reshape(2, 3) @ [u, v, 1]
    return resampled(x, scaled(places, True), "constant")


READ: dict[str, Any] = {
    "sampling_mode": "bilinear", "padding_mode": "constant", "padding_value": 0.0,
    "coordinates_mode": "unnormalized", "align_corners": False,
}  # fmt: skip
AFFINE = READ | {"coordinates_mode": "normalized_minus_one_to_one", "align_corners": True}
MATRIX = np.array([[-1.0, -2, -3.7, -1, 3.5, 1.2]])
MAPS = np.array([[0.75, 0.25, 0.125, -0.5, 0.5, 0], [1, 0, 0.5, 0, -1, 0.25]])
# Places of the reference's tests of `resample`.
POINTS = np.array([[[[-1.0, -2], [-3.7, -1]], [[0, 0], [3.5, 1.2]]]])

CASES = [
    known("affine", np.array([[[[10.7525, 2.5025, 0], [1.98, 0, 0], [0, 0, 0]]]]),
          x=FOUR, transform_matrix=MATRIX, output_height=3, output_width=3, **AFFINE),
    known("affine", np.array([[[[10.7525, 5.94, 2.5025, 0.44, 0], [0.0] * 5]]]),
          x=FOUR, transform_matrix=MATRIX, output_height=2, output_width=5, **AFFINE),
    known("affine", affine(IMAGE, MAPS, 3, 6),
          x=IMAGE, transform_matrix=MAPS, output_height=3, output_width=6, **AFFINE),
    known("affine", affine(IMAGE, MAPS[:1], 4, 5),
          x=IMAGE, transform_matrix=MAPS[:1], output_height=4, output_width=5, **AFFINE),
    known("resample", np.array([[[[8.585, 6.17], [27.5, 6.17]]]]), x=FOUR, coordinates=POINTS,
          **AFFINE | {"padding_value": 6.17}),
    known("resample", np.array([[[[11.0, 11], [11, 44]]]]), x=FOUR, coordinates=POINTS,
          **READ | {"sampling_mode": "nearest", "padding_mode": "border"}),
    known("resample", np.array([[[[22, 36.3], [11, 34.1]]]]), x=FOUR, coordinates=POINTS,
          **AFFINE | {"padding_mode": "reflection", "coordinates_mode": "normalized_zero_to_one"}),
    known("resample", np.array([[[[22.0, 33], [11, 33]]]]), x=FOUR, coordinates=POINTS,
          **READ | {"sampling_mode": "nearest", "padding_mode": "symmetric",
                    "coordinates_mode": "normalized_zero_to_one"}),
    known("resample", np.array([[[[11.0, 44], [11, 44]]]]), x=FOUR,
          coordinates=np.array([[[[0, 0], [1, 1]], [[0, 0], [1, 1]]]], dtype=np.int32), **READ),
    *(known("resample", resampled(IMAGE, PIXELS, mode, -1.5), x=IMAGE, coordinates=PIXELS,
            **READ | {"padding_mode": mode, "padding_value": -1.5})
      for mode in ("constant", "border", "reflection")),
    *(known("resample", nearest(IMAGE, PIXELS, mode, -1.5), x=IMAGE, coordinates=PIXELS,
            **READ | {"sampling_mode": "nearest", "padding_mode": mode, "padding_value": -1.5})
      for mode in ("constant", "border", "reflection", "symmetric")),
    *(known("resample", resampled(IMAGE, scaled(PLACES, aligned), "border"), x=IMAGE,
            coordinates=PLACES, **AFFINE | {"padding_mode": "border", "align_corners": aligned})
      for aligned in (True, False)),
    known("resample", resampled(IMAGE, scaled(PLACES, False), "border"), x=IMAGE,
          coordinates=(PLACES + 1) / 2,
          **READ | {"padding_mode": "border", "coordinates_mode": "normalized_zero_to_one"}),
    known("resample", resampled(IMAGE, scaled(PLACES, False), "symmetric"), x=IMAGE,
          coordinates=PLACES,
          **AFFINE | {"padding_mode": "symmetric", "align_corners": False}),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("resample", {"padding_mode": "wrap"}, "padding_mode wrap"),
        ("resample", {"sampling_mode": "bicubic"}, "sampling_mode bicubic"),
        ("resample", {"coordinates_mode": "polar"}, "coordinates_mode polar"),
        ("affine", {"sampling_mode": "nearest"}, "nearest"),
        ("affine", {"align_corners": False}, "bilinear"),
        ("affine", {"output_height": 1}, "one row"),
    ],
    ids=str,
)
def test_what_the_reference_does_not_define_is_refused(
    name: str, options: dict[str, Any], reason: str
) -> None:
    given: dict[str, Any] = {
        "resample": {"coordinates": PIXELS[:1]} | READ,
        "affine": {"transform_matrix": MATRIX, "output_height": 2, "output_width": 2} | AFFINE,
    }[name]
    arguments = {key: argument(v, torch.float32) for key, v in (given | options).items()}
    with pytest.raises(UnknownOperator, match=reason):
        OPERATORS[name](
            x=torch.tensor(FOUR * np.ones((1, 1, 1, 1)), dtype=torch.float32), **arguments
        )
