"""Gathering and scattering against NumPy's indexing and loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, known, normal

X = normal(2, 3, 4)
WHOLE = np.arange(12, dtype=np.int32).reshape(3, 4)
TABLE = np.array([[0, 2, 1], [2, 2, -3]], dtype=np.int32)
ALONG = np.array([[[2, 0, 1, 1]], [[-1, 0, 2, 1]]], dtype=np.int32)
PLACES = np.array([[0, 2], [1, -1], [0, 0]], dtype=np.int32)
POINTS = np.array([[0, 1], [1, 2], [0, 1]], dtype=np.int32)
DATA, UPDATES = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[5, 6, 7], [8, 9, 10]])

COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "update": lambda old, new: new, "add": np.add, "sub": np.subtract, "mul": np.multiply,
    "div": np.divide, "max": np.maximum, "min": np.minimum,
}  # fmt: skip


def scattered(
    data: np.ndarray, places: list[tuple[Any, ...]], updates: list[np.ndarray], mode: str
) -> np.ndarray:
    result = data.copy()
    for place, update in zip(places, updates, strict=True):
        result[place] = COMBINE[mode](result[place], update)
    return result


def rows(mode: str) -> np.ndarray:
    """Updates (2,3,3) of the last axis at 3, 0 and 3 again, one after the other."""
    chosen = [np.s_[:, :, i] for i in (3, 0, 3)]
    return scattered(X, chosen, list(np.moveaxis(normal(2, 3, 3, seed=1), -1, 0)), mode)


def elements(mode: str) -> np.ndarray:
    """Updates (2,1,4) along the middle axis."""
    order = list(np.ndindex(2, 1, 4))
    chosen = [(i, int(ALONG[i, 0, k]), k) for i, _, k in order]
    return scattered(X, chosen, [normal(2, 1, 4, seed=2)[place] for place in order], mode)


def slices(mode: str) -> np.ndarray:
    """Updates (3,4) of the last axis at three points, two of them the same."""
    return scattered(X, [tuple(p) for p in POINTS], list(normal(3, 4, seed=3)), mode)


CASES = [
    known("gather", X[[1, 0, 1]], x=X, indices=[1, 0, 1]),
    known("gather", X[:, TABLE], x=X, indices=TABLE, axis=1),
    known("gather", X[..., -1], x=X, indices=np.array(-1), axis=-1),
    known("gather", WHOLE[[2]], x=WHOLE, indices=[2], axis=0, validate_indices=False,
          op_set="CoreML7"),
    known("gather", np.stack([X[b][TABLE[b]] for b in range(2)]),
          x=X, indices=TABLE, axis=1, batch_dims=1, op_set="CoreML6"),
    known("gather", np.stack([X[b][:, TABLE[b]] for b in range(2)]),
          x=X, indices=TABLE, axis=2, batch_dims=1),
    known("gather", np.take_along_axis(X, np.array([[[3], [0], [1]], [[1], [1], [2]]]), 2)[..., 0],
          x=X, indices=np.array([[3, 0, 1], [1, 1, 2]]), axis=2, batch_dims=2),
    known("gather_along_axis", np.take_along_axis(X, ALONG, 1), x=X, indices=ALONG, axis=1),
    known("gather_along_axis", np.take_along_axis(WHOLE, np.array([[2, 0, 1, 1]]), 0),
          x=WHOLE, indices=np.array([[2, 0, 1, 1]])),
    known("gather_nd", X[PLACES[:, 0], PLACES[:, 1]], x=X, indices=PLACES),
    known("gather_nd", X[[1, 0]], x=X, indices=np.array([[1], [0]])),
    known("gather_nd", np.array([X[1, 2, 3], X[0, 0, 1]]), x=X,
          indices=np.array([[1, 2, 3], [0, 0, 1]])),
    known("gather_nd", np.stack([X[0, [2, 0]], X[1, [1, 1]]]),
          x=X, indices=np.array([[[2], [0]], [[1], [1]]]), batch_dims=1),
    known("gather_nd", np.array([X[0, 2, 3], X[1, 1, 0]]),
          x=X, indices=np.array([[2, 3], [1, 0]]), batch_dims=1),
    # The example of the reference.
    known("scatter", np.array([[9, 11, 13], [9, 11, 13]]),
          data=DATA, indices=[1, 0], updates=UPDATES, axis=0, mode="add"),
    known("scatter", np.array([[9, 11, 13], [9, 11, 13]]),
          data=DATA, indices=[1, 0], updates=UPDATES),
    known("scatter", np.array([[-7, -7, -7], [-1, -1, -1]]),
          data=DATA, indices=[1, 0], updates=UPDATES, mode="sub"),
    *(known("scatter", rows(mode), data=X, indices=[3, 0, -1], updates=normal(2, 3, 3, seed=1),
            axis=-1, mode=mode) for mode in COMBINE),
    *(known("scatter_along_axis", elements(mode), data=X, indices=ALONG,
            updates=normal(2, 1, 4, seed=2), axis=1, mode=mode) for mode in COMBINE),
    *(known("scatter_nd", slices(mode), data=X, indices=POINTS, updates=normal(3, 4, seed=3),
            mode=mode, op_set="CoreML7") for mode in COMBINE),
    known("scatter_nd", scattered(X, [(1,)], [np.ones((3, 4))], "add"),
          data=X, indices=np.array([[1]]), updates=np.ones((1, 3, 4))),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


@pytest.mark.parametrize(("index", "op_set"), [(3, "CoreML6"), (-4, "CoreML6"), (-1, "CoreML7")])
@pytest.mark.parametrize("name", ["gather", "gather_along_axis", "gather_nd"])
def test_what_an_index_out_of_bounds_reads_is_not_guessed(
    name: str, index: int, op_set: str
) -> None:
    with pytest.raises(UnknownOperator, match="out of bounds"):
        OPERATORS[name](x=torch.ones(3), indices=torch.tensor([index]), op_set=op_set)


@pytest.mark.parametrize("name", ["scatter", "scatter_along_axis", "scatter_nd"])
@pytest.mark.parametrize(
    ("index", "mode", "reason"),
    [(3, "add", "out of bounds"), (0, "xor", "mode xor"), (0, "div", "of integers")],
)
def test_writes_that_the_reference_does_not_define_are_refused(
    name: str, index: int, mode: str, reason: str
) -> None:
    indices = torch.tensor([[index]]) if name == "scatter_nd" else torch.tensor([index])
    data, updates = torch.tensor([1, 2, 3]), torch.tensor([2])
    with pytest.raises(UnknownOperator, match=reason):
        OPERATORS[name](data=data, indices=indices, updates=updates, mode=mode)
