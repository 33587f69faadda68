"""Normalisations against their formulas in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, known, normal, uniform

IMAGE, LINE, SPACE = normal(2, 3, 4, 5), normal(2, 3, 7, seed=1), normal(2, 3, 2, 3, 4, seed=2)
MEAN, GAMMA, BETA = normal(3, seed=3), normal(3, seed=4), normal(3, seed=5)
VARIANCE = uniform(0.1, 2, 3, seed=6)
LARGE = normal(2, 4, 5, seed=7) + 3
SQUARE = normal(4, 5, seed=8)


def channels(vector: np.ndarray, rank: int) -> np.ndarray:
    return vector.reshape(-1, *[1] * (rank - 2))


def batch_norm(x: np.ndarray, eps: float) -> np.ndarray:
    n = x.ndim
    return (x - channels(MEAN, n)) / np.sqrt(channels(VARIANCE, n) + eps)


def normed(x: np.ndarray, axes: tuple[int, ...], eps: float) -> np.ndarray:
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + eps)


def l2_norm(x: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x**2).sum((-3, -2, -1), keepdims=True) + eps)


def local_response(x: np.ndarray, size: int, alpha: float, beta: float, k: float) -> np.ndarray:
    result = np.empty_like(x)
    for channel in range(x.shape[1]):
        first, last = max(0, channel - size // 2), channel + size // 2 + 1
        squares = (x[:, first:last] ** 2).sum(1)
        result[:, channel] = x[:, channel] / (k + alpha / size * squares) ** beta
    return result


CASES = [
    known("batch_norm", batch_norm(IMAGE, 1e-5), x=IMAGE, mean=MEAN, variance=VARIANCE),
    *(known("batch_norm",
            batch_norm(x, 0.25) * channels(GAMMA, x.ndim) + channels(BETA, x.ndim),
            x=x, mean=MEAN, variance=VARIANCE, gamma=GAMMA, beta=BETA, epsilon=0.25)
      for x in (LINE, IMAGE, SPACE)),
    known("batch_norm", batch_norm(IMAGE, 1e-3) + channels(BETA, 4),
          x=IMAGE, mean=MEAN, variance=VARIANCE, beta=BETA, epsilon=1e-3),
    known("instance_norm", normed(IMAGE, (2, 3), 1e-5), x=IMAGE),
    known("instance_norm",
          normed(IMAGE, (2, 3), 0.5) * channels(GAMMA, 4) + channels(BETA, 4),
          x=IMAGE, gamma=GAMMA, beta=BETA, epsilon=0.5),
    known("instance_norm", normed(LINE, (2,), 0.125) * channels(GAMMA, 3),
          x=LINE, gamma=GAMMA, epsilon=0.125),
    known("layer_norm", normed(LARGE, (2,), 1e-5), x=LARGE, axes=[-1]),
    known("layer_norm", normed(LARGE, (0, 1, 2), 1e-5), x=LARGE),
    known("layer_norm", normed(LARGE, (1, 2), 0.5) * SQUARE + 2 * SQUARE,
          x=LARGE, axes=[1, 2], gamma=SQUARE, beta=2 * SQUARE, epsilon=0.5),
    known("layer_norm", normed(LARGE, (1, 2), 0.5) * SQUARE,
          x=LARGE, axes=[-1, 1], gamma=SQUARE, epsilon=0.5),
    known("layer_norm", normed(IMAGE, (1,), 1e-3) * channels(GAMMA, 4) + channels(BETA, 4),
          x=IMAGE, axes=[1], gamma=GAMMA, beta=BETA, epsilon=1e-3),
    known("layer_norm", normed(IMAGE, (0, 2), 1e-3), x=IMAGE, axes=[0, -2], epsilon=1e-3),
    known("l2_norm", l2_norm(IMAGE[0], 1e-6), x=IMAGE[0]),
    known("l2_norm", l2_norm(IMAGE, 0.5), x=IMAGE, epsilon=0.5),
    known("l2_norm", l2_norm(SPACE, 1e-6), x=SPACE),
    known("local_response_norm", local_response(LINE, 3, 1e-4, 0.75, 1.0), x=LINE, size=3),
    known("local_response_norm", local_response(normal(2, 8, 3, 4), 5, 2.0, 0.5, 3.0),
          x=normal(2, 8, 3, 4), size=5, alpha=2.0, beta=0.5, k=3.0),
    known("local_response_norm", local_response(IMAGE, 1, 2.0, 1.5, 0.5),
          x=IMAGE, size=1, alpha=2.0, beta=1.5, k=0.5),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


def test_the_lean_of_an_even_window_of_channels_is_not_guessed() -> None:
    with pytest.raises(UnknownOperator, match="size 2"):
        OPERATORS["local_response_norm"](x=torch.ones(1, 4, 4), size=torch.tensor(2))
