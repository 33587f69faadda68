"""Slices against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.converters.runtimes.mil.known import PRECISIONS, Case, known, normal

X = normal(4, 5, 6)
WHOLE = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
FIRST = [True, False, False]


def updated(x: np.ndarray, where: tuple[slice | int, ...], update: np.ndarray) -> np.ndarray:
    result = x.copy()
    result[where] = update
    return result


CASES = [
    known("slice_by_size", X[1:3, :, 2:6], x=X, begin=[1, 0, 2], size=[2, 5, -1]),
    known("slice_by_size", X[-2:, 1:2, :4], x=X, begin=[-2, 1, 0], size=[-1, 1, 4]),
    known("slice_by_size", WHOLE[:, 2:], x=WHOLE, begin=[0, 2, 0], size=[2, 1, 4]),
    known("slice_by_index", X[1:3, 0:4, 2:6], x=X, begin=[1, 0, 2], end=[3, 4, 6]),
    known("slice_by_index", X[-3:-1, 1:100, 5:6], x=X, begin=[-3, 1, 5], end=[-1, 100, 6]),
    known("slice_by_index", X[0:4:2, 1:5:3, ::5],
          x=X, begin=[0, 1, 0], end=[4, 5, 6], stride=[2, 3, 5]),
    known("slice_by_index", X[::-1, 3:0:-2, ::],
          x=X, begin=[0, 3, 0], end=[0, 0, 6], stride=[-1, -2, 1],
          begin_mask=[True, False, True], end_mask=FIRST),
    known("slice_by_index", X[:, -1:1:-1, -2::-3],
          x=X, begin=[0, -1, -2], end=[4, 1, 0], stride=[1, -1, -3],
          end_mask=[False, False, True]),
    known("slice_by_index", X[2:, :3], x=X, begin=[2, 1, 1], end=[1, 3, 1],
          begin_mask=[False, True, True], end_mask=[True, False, True]),
    known("slice_by_index", X[1, :, -1], x=X, begin=[1, 0, -1], end=[0, 5, 0],
          squeeze_mask=[True, False, True]),
    known("slice_by_index", X[0], x=X, begin=[3, 0, 0], end=[0, 5, 6],
          begin_mask=FIRST, squeeze_mask=FIRST),
    known("slice_by_index", np.array(X[1, 2, 3]), x=X, begin=[1, 2, 3], end=[0, 0, 0],
          squeeze_mask=[True, True, True]),
    known("slice_by_index", WHOLE[:, 1:1], x=WHOLE, begin=[0, 1, 0], end=[2, 1, 4]),
    known("slice_update", updated(X, np.s_[1:3, 0:4, 2:6], -X[1:3, 0:4, 2:6]),
          x=X, update=-X[1:3, 0:4, 2:6], begin=[1, 0, 2], end=[3, 4, 6]),
    known("slice_update", updated(X, np.s_[::-1, ::2, 1:2], normal(4, 3, 1)),
          x=X, update=normal(4, 3, 1), begin=[0, 0, 1], end=[0, 5, 2], stride=[-1, 2, 1],
          begin_mask=FIRST, end_mask=FIRST),
    known("slice_update", updated(WHOLE, np.s_[1, :, 2:], np.ones((3, 2), dtype=np.int32)),
          x=WHOLE, update=np.ones((3, 2), dtype=np.int32), begin=[1, 0, 2], end=[0, 0, 0],
          end_mask=[False, True, True], squeeze_mask=FIRST),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)
