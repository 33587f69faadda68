"""Elementwise operators against NumPy, the standard library and published values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, known, normal, uniform

X = np.concatenate([normal(30) * 3, [0.0, -0.5, 0.5, 1.5, 2.5, -1.5, -2.5, 4.0]])
UNIT = uniform(-0.95, 0.95, 30)
POSITIVE = uniform(0.1, 9, 30)
WHOLE = np.array([[-7, -3, 0], [2, 5, 9]], dtype=np.int32)
DIVISORS = np.array([2, -3, 4], dtype=np.int32)
LEFT, RIGHT = normal(2, 3, 4, seed=1), normal(3, 1, seed=2)
# Where floats divide: every sign, and quotients that are whole.
OVER = np.array([7.0, -7.0, 7.0, -7.0, 6.0, -6.0, 0.0, 0.75, -0.75])
UNDER = np.array([2.0, 2.0, -2.0, -2.0, 3.0, 3.0, -5.0, 0.5, 0.5])
TRUTH = np.array([[True, True], [False, False]])
OTHER = np.array([True, False])

FLOAT_UNARY = {
    "abs": (np.abs, X), "acos": (np.arccos, UNIT), "asin": (np.arcsin, UNIT),
    "atan": (np.arctan, X), "atanh": (np.arctanh, UNIT), "ceil": (np.ceil, X),
    "cos": (np.cos, X), "cosh": (np.cosh, UNIT * 3), "erf": (np.vectorize(math.erf), X),
    "exp": (np.exp, UNIT * 3), "exp2": (np.exp2, UNIT * 3), "floor": (np.floor, X),
    "round": (np.round, X), "sign": (np.sign, X), "sin": (np.sin, X), "sinh": (np.sinh, UNIT * 3),
    "sqrt": (np.sqrt, POSITIVE), "square": (np.square, X), "tan": (np.tan, UNIT),
    "tanh": (np.tanh, X),
}  # fmt: skip

BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "maximum": np.maximum,
    "minimum": np.minimum, "greater": np.greater, "greater_equal": np.greater_equal,
    "less": np.less, "less_equal": np.less_equal, "equal": np.equal, "not_equal": np.not_equal,
}  # fmt: skip

CASES = [
    *(known(name, function(x), x=x) for name, (function, x) in FLOAT_UNARY.items()),
    known("round", np.array([0.0, 2.0, 2.0, -0.0, -2.0]), x=np.array([0.5, 1.5, 2.5, -0.5, -1.5])),
    known("abs", np.abs(WHOLE), x=WHOLE),
    known("sign", np.sign(WHOLE), x=WHOLE),
    known("square", WHOLE**2, x=WHOLE),
    known("exp2", np.array([1, 2, 32], dtype=np.int32), x=np.array([0, 1, 5], dtype=np.int32)),
    known("logical_not", ~TRUTH, x=TRUTH),
    *(known(name, function(LEFT, RIGHT), x=LEFT, y=RIGHT) for name, function in BINARY.items()),
    *(known(name, function(WHOLE, DIVISORS), x=WHOLE, y=DIVISORS)
      for name, function in BINARY.items()),
    known("equal", np.array([True, False]), x=np.array([1.5, 2]), y=np.array(1.5)),
    known("greater_equal", np.array([True, True]), x=np.array([1, 2]), y=np.array([1, 1])),
    known("greater", np.array([False, True]), x=np.array([1, 2]), y=np.array([1, 1])),
    known("less", np.array([False, True]), x=np.array([1, 0]), y=np.array([1, 1])),
    known("less_equal", np.array([True, True]), x=np.array([1, 0]), y=np.array([1, 1])),
    known("floor_div", WHOLE // DIVISORS, x=WHOLE, y=DIVISORS),
    known("floor_div", OVER // UNDER, x=OVER, y=UNDER),
    known("floor_div", np.floor(LEFT / RIGHT), x=LEFT, y=RIGHT),
    known("mod", WHOLE % DIVISORS, x=WHOLE, y=DIVISORS),
    known("mod", OVER % UNDER, x=OVER, y=UNDER),
    known("mod", LEFT - RIGHT * np.floor(LEFT / RIGHT), x=LEFT, y=RIGHT),
    known("real_div", LEFT / RIGHT, x=LEFT, y=RIGHT),
    known("real_div", np.array([-2, 3]), x=np.array([-4, 6]), y=np.array([2, 2])),
    known("real_div", 1 / POSITIVE, x=np.array(1.0), y=POSITIVE),
    known("pow", POSITIVE**1.5, x=POSITIVE, y=np.array(1.5)),
    known("pow", OVER**3, x=OVER, y=np.array(3.0)),
    known("pow", np.array([8, 9, 1], dtype=np.int32),
          x=np.array([2, 3, 5], dtype=np.int32), y=np.array([3, 2, 0], dtype=np.int32)),
    known("logical_and", TRUTH & OTHER, x=TRUTH, y=OTHER),
    known("logical_or", TRUTH | OTHER, x=TRUTH, y=OTHER),
    known("logical_xor", TRUTH ^ OTHER, x=TRUTH, y=OTHER),
    # Pull request 2773 of coremltools prints what a Mac gives: half of the truth at 1e-4.
    known("inverse", np.array([5000, 1 / 0.0011, 1 / 0.0101, 1 / 0.2501, 1 / 1.0001]),
          x=np.array([1e-4, 1e-3, 1e-2, 0.25, 1])),
    known("inverse", 1 / (POSITIVE + 0.5), x=POSITIVE, epsilon=0.5),
    known("rsqrt", 1 / np.sqrt(POSITIVE + 1e-12), x=POSITIVE),
    known("rsqrt", np.array([1e6, 1 / np.sqrt(2e-12)]), x=np.array([0.0, 1e-12])),
    known("rsqrt", 1 / np.sqrt(POSITIVE + 0.25), x=POSITIVE, epsilon=0.25),
    known("log", np.log(POSITIVE), x=POSITIVE),
    known("log", np.log1p(POSITIVE), x=POSITIVE, epsilon=1.0),
    known("clip", np.clip(X, -1, 2), x=X, alpha=-1.0, beta=2.0),
    known("clip", np.clip(X, 0.5, 0.75), x=X, alpha=0.5, beta=0.75),
    known("threshold", np.maximum(X, 0.5), x=X, alpha=0.5),
    known("threshold", np.maximum(WHOLE, 2), x=WHOLE, alpha=2),
    known("select", np.where(TRUTH, 1.5, np.array([2.0, 3])),
          cond=TRUTH, a=np.array(1.5), b=np.array([2.0, 3])),
    known("select", np.where(LEFT > 0, LEFT, RIGHT), cond=LEFT > 0, a=LEFT, b=RIGHT),
    known("select", np.argwhere(TRUTH), cond=TRUTH),
    known("cast", np.array([-2, -1, 0, 0, 1, 2]), x=np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]),
          dtype="int32"),
    known("cast", X != 0, x=X, dtype="bool"),
    known("cast", WHOLE.astype(float), x=WHOLE, dtype="fp32"),
    known("cast", TRUTH.astype(float), x=TRUTH, dtype="fp16"),
    known("cast", TRUTH.astype(np.int32), x=TRUTH, dtype="int32"),
    known("cast", np.array([200, 7]), x=np.array([200.9, 7.1]), dtype="uint8"),
    known("cast", np.array([-128, 7]), x=np.array([-128.0, 7.1]), dtype="int8"),
    known("cast", np.array([60000]), x=np.array([60000.0]), dtype="uint16"),
    known("cast", np.array([0.5, -1.25]), x=np.array([0.5, -1.25]), dtype="fp16"),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


def test_the_smallest_logarithm_is_that_of_the_default_epsilon() -> None:
    least = OPERATORS["log"](x=torch.zeros((), dtype=torch.float64))
    assert least.item() == pytest.approx(math.log(1e-45))


def test_quotients_of_integers_are_not_guessed() -> None:
    with pytest.raises(UnknownOperator, match="of integers"):
        OPERATORS["real_div"](x=torch.tensor([3]), y=torch.tensor([2]))


def test_a_cast_to_a_string_is_not_guessed() -> None:
    with pytest.raises(UnknownOperator, match="to string"):
        OPERATORS["cast"](x=torch.zeros(1), dtype="string")
