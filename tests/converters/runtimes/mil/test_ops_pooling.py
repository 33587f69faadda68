"""Pools against loops over every window, and against what Macs were reported to give."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, known, normal

Sizes = Sequence[int]
Pairs = Sequence[tuple[int, int]]


def pool(
    x: np.ndarray,
    kernels: Sizes,
    strides: Sizes,
    pads: Pairs,
    value: float,
    reduce: Callable[[np.ndarray], float],
) -> np.ndarray:
    """`reduce` of each window of the padded input."""
    padded = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=value)
    sizes = [(n - k) // s + 1 for n, k, s in zip(padded.shape[2:], kernels, strides, strict=True)]
    result = np.zeros((*x.shape[:2], *sizes))
    for place in np.ndindex(*result.shape):
        window = tuple(
            slice(p * s, p * s + k) for p, s, k in zip(place[2:], strides, kernels, strict=True)
        )
        result[place] = reduce(padded[(*place[:2], *window)])
    return result


def average(x: np.ndarray, kernels: Sizes, strides: Sizes, pads: Pairs) -> np.ndarray:
    return pool(x, kernels, strides, pads, 0.0, np.mean)


def inside(x: np.ndarray, kernels: Sizes, strides: Sizes, pads: Pairs) -> np.ndarray:
    """The average of what is not padding."""
    return pool(x, kernels, strides, pads, np.nan, np.nanmean)


def maximum(x: np.ndarray, kernels: Sizes, strides: Sizes, pads: Pairs) -> np.ndarray:
    return pool(x, kernels, strides, pads, -np.inf, np.max)


def length(x: np.ndarray, kernels: Sizes, strides: Sizes, pads: Pairs) -> np.ndarray:
    return pool(x, kernels, strides, pads, 0.0, lambda window: np.sqrt(np.sum(window**2)))


IMAGE, LINE, SPACE = normal(2, 3, 7, 6), normal(2, 3, 9, seed=1), normal(1, 2, 4, 5, 4, seed=2)
NONE = ((0, 0), (0, 0))
SEVEN, FIVE = np.arange(49.0).reshape(1, 1, 7, 7), np.arange(8.0).reshape(1, 1, 8)

CASES: list[Case] = []
for _name, _pool in (("avg_pool", average), ("max_pool", maximum), ("l2_pool", length)):
    CASES += [
        known(_name, _pool(IMAGE, (3, 2), (1, 1), NONE),
              x=IMAGE, kernel_sizes=[3, 2], pad_type="valid"),
        known(_name, _pool(IMAGE, (3, 2), (2, 3), ((1, 0), (2, 1))),
              x=IMAGE, kernel_sizes=[3, 2], strides=[2, 3], pad_type="custom", pad=[1, 0, 2, 1]),
        # 7 rows by steps of 2 of 3 rows: 2 to pad; 6 columns of 2 by 1: 1 to pad.
        known(_name, _pool(IMAGE, (3, 2), (2, 1), ((1, 1), (0, 1))),
              x=IMAGE, kernel_sizes=[3, 2], strides=[2, 1], pad_type="same"),
        known(_name, _pool(IMAGE, (3, 2), (2, 1), ((1, 1), (1, 0))),
              x=IMAGE, kernel_sizes=[3, 2], strides=[2, 1], pad_type="same_lower"),
        # The last window of ceil_mode reaches one row beyond 7, and one column beyond 6.
        known(_name, _pool(IMAGE, (2, 3), (2, 2), ((0, 1), (0, 1))),
              x=IMAGE, kernel_sizes=[2, 3], strides=[2, 2], pad_type="valid", ceil_mode=True),
        # A fourth window of rows would begin in the padding; the last of columns needs one more.
        known(_name, _pool(IMAGE, (2, 3), (3, 2), ((1, 1), (1, 2))),
              x=IMAGE, kernel_sizes=[2, 3], strides=[3, 2], pad_type="custom", pad=[1, 1, 1, 1],
              ceil_mode=True),
        known(_name, _pool(LINE, (4,), (3,), ((0, 0),)),
              x=LINE, kernel_sizes=[4], strides=[3], pad_type="valid"),
        known(_name, _pool(LINE, (4,), (3,), ((0, 1),)),
              x=LINE, kernel_sizes=[4], strides=[3], pad_type="valid", ceil_mode=True),
    ]  # fmt: skip

CASES += [
    known("avg_pool", average(SPACE, (2, 3, 2), (2, 1, 1), ((0, 0), (1, 1), (0, 1))),
          x=SPACE, kernel_sizes=[2, 3, 2], strides=[2, 1, 1],
          pad_type="custom", pad=[0, 0, 1, 1, 0, 1]),
    known("max_pool", maximum(SPACE, (2, 3, 2), (2, 1, 1), ((0, 0), (1, 1), (0, 1))),
          x=SPACE, kernel_sizes=[2, 3, 2], strides=[2, 1, 1],
          pad_type="custom", pad=[0, 0, 1, 1, 0, 1]),
    known("avg_pool", inside(IMAGE, (3, 2), (2, 3), ((1, 0), (1, 1))),
          x=IMAGE, kernel_sizes=[3, 2], strides=[2, 3], pad_type="custom", pad=[1, 0, 1, 1],
          exclude_padding_from_average=True),
    known("avg_pool", inside(IMAGE, (3, 2), (2, 1), ((1, 1), (0, 1))),
          x=IMAGE, kernel_sizes=[3, 2], strides=[2, 1], pad_type="same",
          exclude_padding_from_average=True),
    known("avg_pool", inside(IMAGE, (2, 3), (2, 2), ((0, 1), (0, 1))),
          x=IMAGE, kernel_sizes=[2, 3], strides=[2, 2], pad_type="valid", ceil_mode=True,
          exclude_padding_from_average=True),
    known("avg_pool", average(IMAGE, (3, 2), (2, 3), NONE),
          x=IMAGE, kernel_sizes=[3, 2], strides=[2, 3], pad_type="valid",
          exclude_padding_from_average=True),
    # Pull request 2844 of coremltools prints these results of a Mac, where torch gives
    # 4, 7, 9.5 / 25, 28, 30.5 / 42.5, 45.5, 48 and 0.5, 3.5, 6.
    known("avg_pool", np.array([[4, 7, 4.75], [25, 28, 15.25], [21.25, 22.75, 12]])[None, None],
          x=SEVEN, kernel_sizes=[2, 2], strides=[3, 3], pad_type="custom", pad=[0, 0, 0, 0],
          ceil_mode=True, exclude_padding_from_average=False),
    known("avg_pool", np.array([[[0.5, 3.5, 3.0]]]),
          x=FIVE[..., :7], kernel_sizes=[2], strides=[3], pad_type="valid", ceil_mode=True),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "windows"),
    [
        (6, 3, 2, 0, 3),  # from 4 to 7: a part of the last window is inside
        (5, 2, 2, 0, 3),
        (5, 2, 3, 1, 2),  # a third window would begin at 6, where the padding after 5 begins
        (8, 3, 4, 1, 3),
    ],
)
@pytest.mark.parametrize("name", ["avg_pool", "max_pool", "l2_pool"])
def test_ceil_mode_leaves_out_a_window_of_padding(
    name: str, size: int, kernel: int, stride: int, pad: int, windows: int
) -> None:
    result = OPERATORS[name](
        x=torch.ones(1, 1, size),
        kernel_sizes=torch.tensor([kernel]),
        strides=torch.tensor([stride]),
        pad_type="custom",
        pad=torch.tensor([pad, pad]),
        ceil_mode=torch.tensor(True),
    )
    assert result.shape[2] == windows
    assert bool(torch.isfinite(result).all())


def test_a_window_beyond_an_input_without_padding_is_not_guessed() -> None:
    with pytest.raises(UnknownOperator, match="beyond"):
        OPERATORS["avg_pool"](
            x=torch.ones(1, 1, 7),
            kernel_sizes=torch.tensor([1]),
            strides=torch.tensor([5]),
            pad_type="valid",
            ceil_mode=torch.tensor(True),
        )
