"""Reductions against NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.converters.runtimes.mil.known import PRECISIONS, Case, known, normal, uniform

X, POSITIVE = normal(2, 3, 4), uniform(0.5, 2, 2, 3, 4)
WHOLE = np.array([[3, -1, 4], [1, 5, -9]], dtype=np.int32)
COUNTS = np.array([[3, 1, 4], [1, 5, 9]], dtype=np.int32)

NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "reduce_l1_norm": lambda x, **how: np.abs(x).sum(**how),
    "reduce_l2_norm": lambda x, **how: np.sqrt((x**2).sum(**how)),
    "reduce_log_sum": lambda x, **how: np.log(x.sum(**how)),
    "reduce_log_sum_exp": lambda x, **how: np.log(np.exp(x).sum(**how)),
    "reduce_max": np.max,
    "reduce_mean": np.mean,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_sum": np.sum,
    "reduce_sum_square": lambda x, **how: (x**2).sum(**how),
}

CASES: list[Case] = []
for _name, _reduce in NUMPY.items():
    _x = POSITIVE if _name == "reduce_log_sum" else X
    CASES += [
        known(_name, _reduce(_x, axis=(0, 1, 2)), x=_x),
        known(_name, _reduce(_x, axis=(0, 1, 2), keepdims=True), x=_x, keep_dims=True),
        known(_name, _reduce(_x, axis=(1,)), x=_x, axes=[1], keep_dims=False),
        known(_name, _reduce(_x, axis=(0, 2)), x=_x, axes=[-1, 0]),
        known(_name, _reduce(_x, axis=(1, 2), keepdims=True), x=_x, axes=[1, -1], keep_dims=True),
        # What an integer reduces to is an integer, rounded towards zero.
        known(_name, _reduce(COUNTS, axis=(1,)).astype(np.int32), x=COUNTS, axes=[1]),
    ]

CASES += [
    known("reduce_mean", np.array([2, -1], dtype=np.int32), x=WHOLE, axes=[1]),
    known("reduce_log_sum_exp", np.array([1000 + np.log(2)]), x=np.full((1, 2), 1000.0), axes=[1]),
    known("reduce_argmax", np.argmax(X, -1), x=X),
    known("reduce_argmax", np.argmax(X, 1)[:, None], x=X, axis=1, keep_dims=True),
    known("reduce_argmax", np.argmax(X, 0), x=X, axis=-3, output_dtype="uint16"),
    known("reduce_argmax", np.array([2, 1]), x=WHOLE, axis=1),
    known("reduce_argmin", np.argmin(X, -1), x=X),
    known("reduce_argmin", np.argmin(X, 1)[:, None], x=X, axis=1, keep_dims=True),
    known("reduce_argmin", np.argmin(X, 0), x=X, axis=0, output_dtype="uint16"),
    known("reduce_argmin", np.array([1, 2]), x=WHOLE, axis=1),
]


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)
