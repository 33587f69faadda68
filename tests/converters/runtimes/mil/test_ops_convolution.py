"""Convolutions against loops over every element."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, known, normal

Pairs = Sequence[tuple[int, int]]


def conv(
    x: np.ndarray,
    weight: np.ndarray,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Pairs,
    groups: int = 1,
) -> np.ndarray:
    """Every product of an element with a weight, added where it belongs."""
    padded = np.pad(x, [(0, 0), (0, 0), *pads])
    spread = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    sizes = [(n - k) // s + 1 for n, k, s in zip(padded.shape[2:], spread, strides, strict=True)]
    result = np.zeros((len(x), len(weight), *sizes))
    share, outputs = weight.shape[1], len(weight) // groups
    for output in range(len(weight)):
        first = output // outputs * share
        for place in np.ndindex(*sizes):
            for tap in np.ndindex(*weight.shape[2:]):
                source = tuple(
                    p * s + t * d for p, s, t, d in zip(place, strides, tap, dilations, strict=True)
                )
                values = padded[(slice(None), slice(first, first + share), *source)]
                result[(slice(None), output, *place)] += (
                    values @ weight[(output, slice(None), *tap)]
                )
    return result


def transposed(
    x: np.ndarray,
    weight: np.ndarray,
    strides: Sequence[int],
    dilations: Sequence[int],
    kept: Pairs,
    groups: int = 1,
) -> np.ndarray:
    """Every element times the kernel, added to a canvas of which the ranges `kept` are left."""
    spread = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    sizes = [(n - 1) * s + k for n, s, k in zip(x.shape[2:], strides, spread, strict=True)]
    canvas = np.zeros((len(x), weight.shape[1] * groups, *[n + 20 for n in sizes]))
    share, outputs = x.shape[1] // groups, weight.shape[1]
    for source in range(x.shape[1]):
        group = source // share
        for place in np.ndindex(*x.shape[2:]):
            for tap in np.ndindex(*weight.shape[2:]):
                target = tuple(
                    p * s + t * d for p, s, t, d in zip(place, strides, tap, dilations, strict=True)
                )
                where = (slice(None), slice(group * outputs, (group + 1) * outputs), *target)
                canvas[where] += np.outer(
                    x[(slice(None), source, *place)], weight[(source, slice(None), *tap)]
                )
    return canvas[(..., *(slice(first, last) for first, last in kept))]


IMAGE, WEIGHT, BIAS = normal(2, 4, 7, 6), normal(6, 4, 3, 2, seed=1), normal(6, seed=2)
GROUPED, DEPTHWISE = normal(6, 2, 3, 3, seed=3), normal(4, 1, 3, 3, seed=4)
LINE, TAPS = normal(2, 3, 9, seed=5), normal(4, 3, 4, seed=6)
SPACE, CUBE = normal(1, 2, 4, 5, 4, seed=7), normal(3, 2, 2, 3, 2, seed=8)
NONE, ONES = ((0, 0), (0, 0)), (1, 1)
UNEVEN = ((1, 2), (0, 3))
COLUMN = BIAS.reshape(6, 1, 1)

CASES = [
    known("conv", conv(IMAGE, WEIGHT, ONES, ONES, NONE), x=IMAGE, weight=WEIGHT),
    known("conv", conv(IMAGE, WEIGHT, ONES, ONES, NONE) + COLUMN,
          x=IMAGE, weight=WEIGHT, bias=BIAS, pad_type="valid", pad=[9, 9, 9, 9]),
    known("conv", conv(IMAGE, WEIGHT, ONES, ONES, NONE),
          x=IMAGE, weight=WEIGHT, pad_type="custom"),
    known("conv", conv(IMAGE, WEIGHT, (2, 1), ONES, ((1, 1), (2, 2))) + COLUMN,
          x=IMAGE, weight=WEIGHT, bias=BIAS, strides=[2, 1], pad_type="custom", pad=[1, 1, 2, 2]),
    known("conv", conv(IMAGE, WEIGHT, (2, 3), (2, 1), UNEVEN),
          x=IMAGE, weight=WEIGHT, strides=[2, 3], dilations=[2, 1],
          pad_type="custom", pad=[1, 2, 0, 3]),
    # 7 rows by steps of 2 make 4 of 3 rows: 2 to pad; 6 columns of 2 by 1: 1 to pad, after.
    known("conv", conv(IMAGE, WEIGHT, (2, 1), ONES, ((1, 1), (0, 1))),
          x=IMAGE, weight=WEIGHT, strides=[2, 1], pad_type="same"),
    known("conv", conv(IMAGE, WEIGHT, (2, 1), ONES, ((1, 1), (1, 0))),
          x=IMAGE, weight=WEIGHT, strides=[2, 1], pad_type="same_lower"),
    # Steps of 4 cover 7 rows twice without padding, 6 columns in steps of 4 twice.
    known("conv", conv(IMAGE, WEIGHT, (4, 4), (1, 3), ((0, 0), (1, 1))),
          x=IMAGE, weight=WEIGHT, strides=[4, 4], dilations=[1, 3], pad_type="same"),
    known("conv", conv(IMAGE, GROUPED, ONES, ONES, ((1, 1), (1, 1)), 2),
          x=IMAGE, weight=GROUPED, groups=2, pad_type="same"),
    known("conv", conv(IMAGE, DEPTHWISE, (2, 2), ONES, ((0, 1), (0, 1)), 4),
          x=IMAGE, weight=DEPTHWISE, strides=[2, 2], groups=4,
          pad_type="custom", pad=[0, 1, 0, 1]),
    known("conv", conv(LINE, TAPS, (2,), (2,), ((1, 0),)),
          x=LINE, weight=TAPS, strides=[2], dilations=[2], pad_type="custom", pad=[1, 0]),
    known("conv", conv(LINE, TAPS, (1,), (1,), ((1, 2),)), x=LINE, weight=TAPS, pad_type="same"),
    known("conv", conv(LINE, TAPS, (1,), (1,), ((2, 1),)),
          x=LINE, weight=TAPS, pad_type="same_lower"),
    known("conv", conv(SPACE, CUBE, (1, 2, 1), (1, 1, 2), ((0, 1), (1, 1), (2, 0))),
          x=SPACE, weight=CUBE, strides=[1, 2, 1], dilations=[1, 1, 2],
          pad_type="custom", pad=[0, 1, 1, 1, 2, 0]),
]  # fmt: skip

BACK = normal(4, 3, 3, 2, seed=9)  # from four channels to three
PAIRS = normal(4, 3, 3, 3, seed=10)  # to six in two groups
THREE = normal(3, seed=11)
ROW = THREE.reshape(3, 1, 1)
SMALL = normal(1, 4, 3, 4, seed=12)

# Of 3x4 pixels in steps of 2 with a kernel of 3x2 a canvas of 7x8 is full.
CASES += [
    known("conv_transpose", transposed(SMALL, BACK, (2, 2), ONES, ((0, 7), (0, 8))),
          x=SMALL, weight=BACK, strides=[2, 2]),
    known("conv_transpose", transposed(SMALL, BACK, ONES, (2, 3), ((0, 7), (0, 7))) + ROW,
          x=SMALL, weight=BACK, bias=THREE, dilations=[2, 3], pad_type="valid"),
    known("conv_transpose", transposed(SMALL, BACK, (2, 2), ONES, ((0, 7), (0, 8))),
          x=SMALL, weight=BACK, strides=[2, 2], pad_type="custom"),
    known("conv_transpose", transposed(SMALL, BACK, (2, 2), ONES, ((1, 5), (0, 5))) + ROW,
          x=SMALL, weight=BACK, bias=THREE, strides=[2, 2],
          pad_type="custom", pad=[1, 2, 0, 3]),
    # `same`: a size times its step, of what is too much the odd element cut at the end.
    known("conv_transpose", transposed(SMALL, BACK, (2, 2), ONES, ((0, 6), (0, 8))),
          x=SMALL, weight=BACK, strides=[2, 2], pad_type="same"),
    known("conv_transpose", transposed(SMALL, BACK, (3, 3), ONES, ((0, 9), (0, 12))) + ROW,
          x=SMALL, weight=BACK, bias=THREE, strides=[3, 3], pad_type="same"),
    known("conv_transpose", transposed(SMALL, BACK, ONES, ONES, ((1, 4), (0, 4))),
          x=SMALL, weight=BACK, pad_type="same"),
    known("conv_transpose", transposed(SMALL, PAIRS, (2, 2), ONES, ((1, 6), (1, 8)), 2),
          x=SMALL, weight=PAIRS, strides=[2, 2], groups=2, pad_type="custom", pad=[1, 1, 1, 1]),
    # `output_shape` leaves the beginning and fixes the end, beyond the canvas if need be.
    known("conv_transpose", transposed(SMALL, BACK, (2, 2), ONES, ((0, 8), (0, 9))) + ROW,
          x=SMALL, weight=BACK, bias=THREE, strides=[2, 2], output_shape=[1, 3, 8, 9]),
    known("conv_transpose", transposed(SMALL, BACK, (2, 2), ONES, ((1, 7), (1, 8))),
          x=SMALL, weight=BACK, strides=[2, 2], pad_type="custom", pad=[1, 0, 1, 0],
          output_shape=[1, 3, 6, 7]),
    # A forward convolution of 5 rows in steps of 2 pads one row on each side.
    known("conv_transpose", transposed(SMALL, BACK, (2, 2), ONES, ((1, 6), (0, 7))),
          x=SMALL, weight=BACK, strides=[2, 2], pad_type="same", output_shape=[1, 3, 5, 7]),
    known("conv_transpose", transposed(LINE, normal(3, 2, 4), (2,), (1,), ((1, 19),)),
          x=LINE, weight=normal(3, 2, 4), strides=[2], pad_type="custom", pad=[1, 1]),
    known("conv_transpose",
          transposed(SPACE, normal(2, 2, 2, 2, 2), (2, 1, 2), (1, 1, 1), ((0, 8), (0, 6), (0, 8))),
          x=SPACE, weight=normal(2, 2, 2, 2, 2), strides=[2, 1, 2]),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


@pytest.mark.parametrize("name", ["conv", "conv_transpose"])
def test_a_kind_of_padding_that_is_not_in_the_reference_is_not_guessed(name: str) -> None:
    with pytest.raises(UnknownOperator, match="pad_type"):
        OPERATORS[name](x=torch.zeros(1, 2, 4), weight=torch.zeros(2, 2, 3), pad_type="full")


@pytest.mark.parametrize(("size", "kernel", "stride"), itertools.product((5, 6), (1, 2, 3), (1, 2)))
def test_same_padding_gives_a_window_for_each_step(size: int, kernel: int, stride: int) -> None:
    shared: dict[str, Any] = {"x": torch.ones(1, 1, size), "weight": torch.ones(1, 1, kernel)}
    for pad_type in ("same", "same_lower"):
        result = OPERATORS["conv"](**shared, strides=torch.tensor([stride]), pad_type=pad_type)
        assert result.shape[2] == math.ceil(size / stride)
