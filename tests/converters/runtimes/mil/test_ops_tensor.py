"""Operators that make, join and divide tensors, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, known, normal

X, Y = normal(2, 3, 4), normal(2, 3, 4, seed=1)
WHOLE = np.arange(12, dtype=np.int32).reshape(3, 4)
TRUTH = X > 0
PAD = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}  # ours and NumPy's
# The example of the reference.
PAIRS = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.int32)
MORE = np.array([[7, 8], [9, 10], [11, 12]], dtype=np.int32)

CASES = [
    known("identity", X, x=X),
    known("identity", WHOLE, x=WHOLE),
    known("shape", np.array([2, 3, 4]), x=X),
    known("shape", np.zeros(0, dtype=np.int32), x=np.array(1.0)),
    known("fill", np.zeros((2, 3)), shape=[2, 3]),
    known("fill", np.full((2, 3), 1.5), shape=[2, 3], value=1.5),
    known("fill", np.full((4,), 7, dtype=np.int32), shape=[4], value=7),
    known("fill", np.full((1, 2), True), shape=[1, 2], value=True),
    known("fill_like", np.zeros((3, 4)), ref_tensor=WHOLE),
    known("fill_like", np.full((2, 3, 4), -3, dtype=np.int32), ref_tensor=X, value=-3),
    known("range_1d", np.arange(5, 15, 2, dtype=np.int32), start=5, end=15, step=2),
    known("range_1d", np.arange(3, -4, -3, dtype=np.int32), start=3, end=-4, step=-3),
    known("range_1d", np.arange(0.5, 2.6, 0.75), start=0.5, end=2.6, step=0.75),
    known("concat", np.concatenate([X, Y], 1), values=[X, Y], axis=1),
    known("concat", np.concatenate([X, Y[..., :1]], -1), values=[X, Y[..., :1]], axis=-1),
    known("concat", np.concatenate([PAIRS, MORE]), values=[PAIRS, MORE], axis=0, interleave=False),
    known("concat", np.array([[1, 2], [7, 8], [3, 4], [9, 10], [5, 6], [11, 12]]),
          values=[PAIRS, MORE], axis=0, interleave=True),
    known("concat", np.array([[1, 7, 2, 8], [3, 9, 4, 10], [5, 11, 6, 12]]),
          values=[PAIRS, MORE], axis=-1, interleave=True),
    known("concat", np.array([3, 4]), values=[np.array(3), np.array(4)], axis=0),
    known("stack", np.stack([X, Y], 1), values=[X, Y], axis=1),
    known("stack", np.stack([X, Y], -1), values=[X, Y], axis=-1),
    known("stack", np.array([1.5, 2.5]), values=[np.array(1.5), np.array(2.5)], axis=0),
    known("split", tuple(np.split(X, 2, 2)), x=X, axis=2, num_splits=2),
    known("split", tuple(np.split(X, [1, 2], 1)), x=X, axis=-2, split_sizes=[1, 1, 1]),
    known("split", tuple(np.split(X, [3], 2)), x=X, axis=2, split_sizes=[3, 1], num_splits=2),
    known("tile", np.tile(X, (2, 1, 3)), x=X, reps=[2, 1, 3]),
    known("tile", np.tile(WHOLE, (1, 2)), x=WHOLE, reps=[1, 2]),
    *(known("pad", np.pad(X, ((0, 0), (1, 2), (0, 3)), name), x=X, pad=[1, 2, 0, 3], mode=mode)
      for mode, name in PAD.items()),
    *(known("pad", np.pad(X, ((1, 0), (2, 0), (3, 1)), name), x=X, pad=[1, 0, 2, 0, 3, 1],
            mode=mode)
      for mode, name in PAD.items()),
    known("pad", np.pad(X, ((0, 0), (0, 0), (2, 1)), constant_values=-1.5),
          x=X, pad=[2, 1], constant_val=-1.5),
    known("pad", np.pad(X[:1, :1], ((0, 0), (2, 2), (0, 0)), "edge"),
          x=X[:1, :1], pad=[2, 2, 0, 0], mode="replicate"),
    known("one_hot", np.array([[0, 1, 0, 0], [1, 0, 0, 0]]), indices=[1, 0], one_hot_vector_size=4),
    known("one_hot", np.array([[0, 1], [1, 0], [0, 0]]),
          indices=[1, 0], one_hot_vector_size=3, axis=0),
    known("one_hot", np.where(np.arange(4)[:, None] == np.array([[2, 0, 1]])[:, None], 5.0, -1.5),
          indices=np.array([[2, 0, 1]]), one_hot_vector_size=4, axis=-2,
          on_value=5.0, off_value=-1.5),
    known("band_part", X, x=X),
    known("band_part", np.triu(X), x=X, lower=0),
    known("band_part", np.tril(X), x=X, lower=-1, upper=0),
    known("band_part", np.tril(np.triu(X, -1), 2), x=X, lower=1, upper=2),
    known("band_part", np.tril(WHOLE, 0) * np.tri(3, 4, dtype=np.int32), x=WHOLE, upper=0),
    known("band_part", np.triu(TRUTH), x=TRUTH, lower=0, upper=-1),
    known("cumsum", np.cumsum(X, 0), x=X),
    known("cumsum", np.cumsum(X, 2), x=X, axis=-1),
    known("cumsum", np.cumsum(WHOLE, 1), x=WHOLE, axis=1),
    known("cumsum", np.array([[0, 1, 3], [0, 4, 9]]), x=np.array([[1, 2, 3], [4, 5, 6]]), axis=1,
          exclusive=True),
    known("cumsum", np.array([[6, 5, 3], [15, 11, 6]]), x=np.array([[1, 2, 3], [4, 5, 6]]), axis=1,
          reverse=True),
    known("cumsum", np.array([[4, 5, 6], [0, 0, 0]]), x=np.array([[1, 2, 3], [4, 5, 6]]),
          exclusive=True, reverse=True),
    known("non_zero", np.array([[0, 0], [1, 1], [2, 0], [2, 1]]),
          x=np.array([[3.0, 0, 0], [0, 4, 0], [5, 6, 0]])),
    known("non_zero", np.argwhere(TRUTH), x=TRUTH),
    known("non_zero", np.zeros((0, 1)).astype(int), x=np.zeros(3, dtype=np.int32)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


@pytest.mark.parametrize(
    ("mode", "amount", "reason"), [("circular", 1, "mode circular"), ("reflect", 3, "than there")]
)
def test_padding_that_the_reference_does_not_know_is_refused(
    mode: str, amount: int, reason: str
) -> None:
    with pytest.raises(UnknownOperator, match=reason):
        OPERATORS["pad"](x=torch.ones(3, 3), pad=torch.tensor([amount, 0]), mode=mode)
