"""Quantisation against its formula in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, known, normal

X = normal(2, 3, 4) * 40
SCALES, ZEROS = np.array([0.25, 0.5, 2.0]), np.array([3, -7, 100], dtype=np.int8)
COLUMN, OFFSETS = SCALES.reshape(3, 1), ZEROS.reshape(3, 1).astype(float)
LEVELS = np.array([[[-128, 0, 127, 5], [1, 2, 3, 4], [9, -9, 50, -50]]], dtype=np.int8)
HALVES = np.array([0.5, 1.5, 2.5, -0.5, -1.5])


def levels(values: np.ndarray, low: int, high: int) -> np.ndarray:
    return np.clip(values, low, high).astype(int)


CASES = [
    known("quantize", levels(np.round(X / 0.25), -128, 127), input=X, scale=0.25,
          output_dtype="int8"),
    known("quantize", levels(np.round(X / 0.5) + 120, 0, 255), input=X, scale=0.5,
          zero_point=np.array(120, dtype=np.uint8), output_dtype="uint8"),
    known("quantize", levels(np.round(X / COLUMN) + OFFSETS, -128, 127), input=X, scale=SCALES,
          zero_point=ZEROS, axis=1, output_dtype="int8"),
    known("quantize", levels(np.round(X[..., :3] / SCALES), -128, 127), input=X[..., :3],
          scale=SCALES, axis=-1, output_dtype="int8"),
    known("quantize", np.array([0, 2, 2, 0, -2]), input=HALVES, scale=1.0, output_dtype="int8"),
    known("dequantize", LEVELS * 0.25, input=LEVELS, scale=0.25),
    known("dequantize", (LEVELS - 5.0) * 0.5, input=LEVELS, scale=0.5,
          zero_point=np.array(5, dtype=np.int8)),
    known("dequantize", (LEVELS - OFFSETS) * COLUMN, input=LEVELS, scale=SCALES, zero_point=ZEROS,
          axis=1),
    known("dequantize", (np.array([[0.0, 255]]) - 128) * 0.125,
          input=np.array([[0, 255]], dtype=np.uint8), scale=np.array([0.125, 0.125]),
          zero_point=np.array([128, 128], dtype=np.uint8), axis=-1),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


def test_quantisation_to_another_type_is_not_guessed() -> None:
    with pytest.raises(UnknownOperator, match="int4"):
        OPERATORS["quantize"](input=torch.ones(2), scale=torch.tensor(1.0), output_dtype="int4")
