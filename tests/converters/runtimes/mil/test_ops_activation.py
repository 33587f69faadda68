"""Activations against their formulas in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, known, normal

X = np.concatenate([normal(40) * 3, [0.0, -0.5, 0.5, 6.0, 7.0, 30.0, -30.0]])
IMAGE = normal(2, 3, 4, 5, seed=1)
ERF = np.vectorize(math.erf)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def by_channel(*values: float) -> np.ndarray:
    return np.array(values).reshape(3, 1, 1)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


CASES = [
    known("relu", np.maximum(X, 0), x=X),
    known("relu6", np.minimum(np.maximum(X, 0), 6), x=X),
    # The published values of the reference's own tests.
    known(
        "clamped_relu",
        np.array([[-2.0, 1.0, -6.0], [1.0, -10.0, 1.0]]),
        x=np.array([[-1.0, 2, -3], [4, -5, 6]]), alpha=2.0, beta=1.0,
    ),
    known(
        "clamped_relu", np.where(X >= 0, np.minimum(X, 2.5), np.minimum(-0.25 * X, 2.5)),
        x=X, alpha=-0.25, beta=2.5,
    ),
    known("leaky_relu", np.where(X >= 0, X, 0.125 * X), x=X, alpha=0.125),
    known("leaky_relu", np.where(X >= 0, X, -2 * X), x=X, alpha=-2.0),
    known(
        "prelu", np.where(IMAGE > 0, IMAGE, by_channel(0.5, -1, 2) * IMAGE),
        x=IMAGE, alpha=np.array([0.5, -1, 2]),
    ),
    known(
        "prelu", np.where(IMAGE[0] > 0, IMAGE[0], 0.25 * IMAGE[0]),
        x=IMAGE[0], alpha=np.full(4, 0.25),
    ),
    known("thresholded_relu", np.where(X >= 0.5, X, 0), x=X, alpha=0.5),
    known("thresholded_relu", np.where(X >= -1, X, 0), x=X, alpha=-1.0),
    known("elu", np.where(X > 0, X, 0.75 * (np.exp(X) - 1)), x=X, alpha=0.75),
    known("elu", np.where(X > 0, X, -2 * (np.exp(X) - 1)), x=X, alpha=-2.0),
    known("gelu", 0.5 * X * (1 + ERF(X / np.sqrt(2))), x=X),
    known("gelu", 0.5 * X * (1 + ERF(X / np.sqrt(2))), x=X, mode="EXACT"),
    known(
        "gelu", 0.5 * X * (1 + np.tanh(np.sqrt(2 / np.pi) * (X + 0.044715 * X**3))),
        x=X, mode="TANH_APPROXIMATION",
    ),
    known("gelu", X * sigmoid(1.702 * X), x=X, mode="SIGMOID_APPROXIMATION"),
    known("linear_activation", 2.5 * X - 1, x=X, alpha=2.5, beta=-1.0),
    known("linear_activation", -X, x=X, alpha=-1.0, beta=0.0),
    known("scaled_tanh", 2 * np.tanh(0.5 * X), x=X, alpha=2.0, beta=0.5),
    known("scaled_tanh", -0.5 * np.tanh(3 * X), x=X, alpha=-0.5, beta=3.0),
    known("sigmoid", sigmoid(X), x=X),
    known("sigmoid_hard", np.clip(0.25 * X + 0.5, 0, 1), x=X, alpha=0.25, beta=0.5),
    known("sigmoid_hard", np.clip(-2 * X + 0.125, 0, 1), x=X, alpha=-2.0, beta=0.125),
    known("silu", X * sigmoid(X), x=X),
    known("softplus", np.log1p(np.exp(-np.abs(X))) + np.maximum(X, 0), x=X),
    known("softplus", np.array([1000.0, 0.0]), x=np.array([1000.0, -1000.0])),
    known(
        "softplus_parametric",
        by_channel(1, 2, -3) * np.log(1 + np.exp(by_channel(0.5, -1, 2) * IMAGE)),
        x=IMAGE, alpha=np.array([1.0, 2, -3]), beta=np.array([0.5, -1, 2]),
    ),
    known(
        "softplus_parametric", 0.5 * np.log(1 + np.exp(2 * IMAGE[0])),
        x=IMAGE[0], alpha=np.full(4, 0.5), beta=np.full(4, 2.0),
    ),
    known("softmax", softmax(IMAGE, -1), x=IMAGE),
    known("softmax", softmax(IMAGE, 1), x=IMAGE, axis=1),
    known("softmax", softmax(IMAGE, 2), x=IMAGE, axis=-2),
    known("softmax", np.array([0.5, 0.5]), x=np.array([1000.0, 1000.0])),
    known("softsign", X / (1 + np.abs(X)), x=X),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


def test_a_gelu_that_the_reference_does_not_know_is_not_guessed() -> None:
    with pytest.raises(UnknownOperator, match=r"gelu \(mode QUICK\)"):
        OPERATORS["gelu"](x=torch.zeros(2), mode="QUICK")
