"""Matrix products and attention against sums over every element."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, known, normal

X, WEIGHT, BIAS = normal(2, 3, 4), normal(5, 4, seed=1), normal(5, seed=2)
LEFT, RIGHT = normal(2, 1, 3, 4, seed=3), normal(5, 4, 6, seed=4)
VECTOR = normal(4, seed=5)
WHOLE = np.array([[1, -2], [3, 4]], dtype=np.int32)
QUERY, KEY, VALUE = normal(2, 2, 3, 4), normal(2, 2, 5, 4, seed=1), normal(2, 2, 5, 6, seed=2)
MASK = normal(2, 1, 3, 5, seed=6)
SEEN = MASK > -0.5


def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The product of stacks of matrices as a sum of outer products."""
    return sum(x[..., :, k, None] * y[..., None, k, :] for k in range(x.shape[-1]))


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    scores = np.exp(product(q, k.swapaxes(-1, -2)) / np.sqrt(q.shape[-1]) + mask)
    return product(scores / scores.sum(-1, keepdims=True), v)


def contraction(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(B,C,H,W) and (B,W,H,U) to (B,C,H,U)."""
    return sum(x[:, :, :, w, None] * y[:, w, None, :, :] for w in range(x.shape[-1]))


CASES = [
    known("linear", product(X, WEIGHT.T), x=X, weight=WEIGHT),
    known("linear", product(X, WEIGHT.T) + BIAS, x=X, weight=WEIGHT, bias=BIAS),
    known("linear", product(X[0, :1], WEIGHT.T)[0] + BIAS, x=X[0, 0], weight=WEIGHT, bias=BIAS),
    known("linear", WHOLE @ WHOLE.T, x=WHOLE, weight=WHOLE),
    known("matmul", product(LEFT, RIGHT), x=LEFT, y=RIGHT),
    known("matmul", product(LEFT, RIGHT), x=LEFT, y=RIGHT, transpose_x=False, transpose_y=False),
    known("matmul", product(LEFT, RIGHT),
          x=LEFT.swapaxes(-1, -2).copy(), y=RIGHT, transpose_x=True),
    known("matmul", product(LEFT, RIGHT),
          x=LEFT, y=RIGHT.swapaxes(-1, -2).copy(), transpose_y=True),
    known("matmul", product(VECTOR[None], RIGHT)[:, 0], x=VECTOR, y=RIGHT),
    known("matmul", product(X, VECTOR[:, None])[..., 0], x=X, y=VECTOR, transpose_y=True),
    known("matmul", np.array((VECTOR * VECTOR).sum()), x=VECTOR, y=VECTOR),
    known("matmul", WHOLE @ WHOLE, x=WHOLE, y=WHOLE),
    known("einsum", contraction(normal(2, 3, 4, 5), normal(2, 5, 4, 6)),
          values=[normal(2, 3, 4, 5), normal(2, 5, 4, 6)], equation="nchw,nwhu->nchu"),
    known("einsum", contraction(normal(1, 3, 1, 5), normal(2, 5, 4, 6)),
          values=[normal(1, 3, 1, 5), normal(2, 5, 4, 6)], equation="abcd, adce -> abce"),
    known("einsum", contraction(normal(1, 3, 4, 5), normal(1, 5, 4, 6))[0],
          values=[normal(1, 3, 4, 5)[0], normal(1, 5, 4, 6)[0]], equation="chw,whr->chr"),
    known("scaled_dot_product_attention", attention(QUERY, KEY, VALUE, np.zeros(())),
          query=QUERY, key=KEY, value=VALUE),
    known("scaled_dot_product_attention", attention(QUERY[0], KEY[0], VALUE[0], np.zeros(())),
          query=QUERY[0], key=KEY[0], value=VALUE[0]),
    known("scaled_dot_product_attention", attention(QUERY, KEY, VALUE, MASK),
          query=QUERY, key=KEY, value=VALUE, attn_mask=MASK),
    known("scaled_dot_product_attention",
          attention(QUERY, KEY, VALUE, np.where(SEEN, 0, -np.inf)),
          query=QUERY, key=KEY, value=VALUE, attn_mask=SEEN),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


@pytest.mark.parametrize("equation", ["ab,bc->ac", "nchw,nwhu->nhcu", "nchw,nchu->nchu"])
def test_an_equation_that_the_reference_does_not_know_is_refused(equation: str) -> None:
    with pytest.raises(UnknownOperator, match=equation.replace(".", r"\.")):
        OPERATORS["einsum"](values=[torch.ones(2, 2, 2, 2)] * 2, equation=equation)
