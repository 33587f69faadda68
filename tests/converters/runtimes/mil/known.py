"""Known answers of MIL operators: arguments in NumPy, results written out without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from converters.runtimes.mil.ops import OPERATORS

# The compute types of the evaluator's two modes, with the error that rounding may leave.
PRECISIONS = {torch.float32: 2e-6, torch.float64: 1e-12}


@dataclass(frozen=True)
class Case:
    """One call of an operator, and what it has to give."""

    operator: str
    arguments: dict[str, Any]
    expected: Any  # an array, or a tuple of arrays
    op_set: str | None = None

    def __str__(self) -> str:
        shown = ",".join(f"{k}={_shown(v)}" for k, v in self.arguments.items())
        return f"{self.operator}({shown})"[:120]

    def check(self, dtype: torch.dtype) -> None:
        """Asserts values, shapes and kinds of the results, computed in `dtype`."""
        arguments = {k: argument(v, dtype) for k, v in self.arguments.items()}
        if self.op_set is not None:
            arguments["op_set"] = self.op_set
        result = OPERATORS[self.operator](**arguments)
        expected = self.expected
        if not isinstance(expected, tuple):
            result, expected = (result,), (expected,)
        assert len(result) == len(expected)
        for got, wanted in zip(result, expected, strict=True):
            assert_close(got, np.asarray(wanted), dtype)


def known(operator: str, expected: Any, *, op_set: str | None = None, **arguments: Any) -> Case:
    """A case; Python numbers become scalars, lists of numbers int32 or boolean vectors."""
    return Case(operator, arguments, expected, op_set)


def argument(value: Any, dtype: torch.dtype) -> Any:
    """A value as the evaluator hands it to an operator, floats in the compute type."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
        return [argument(v, dtype) for v in value]
    array = np.asarray(value)
    if array.dtype.kind == "f":
        return torch.tensor(array, dtype=dtype)
    return torch.tensor(array if isinstance(value, np.ndarray) else narrowed(array))


def narrowed(array: np.ndarray) -> np.ndarray:
    """Python's integers as int32."""
    return array.astype(np.int32) if array.dtype.kind == "i" else array


def assert_close(got: torch.Tensor, expected: np.ndarray, dtype: torch.dtype) -> None:
    """Integers and truth values agree exactly, numbers to the precision of `dtype`."""
    assert tuple(got.shape) == expected.shape
    if expected.dtype.kind == "f":
        assert got.is_floating_point()
        tolerance = PRECISIONS[dtype]
        np.testing.assert_allclose(got.double(), expected, rtol=5 * tolerance, atol=tolerance)
    else:
        assert got.dtype == torch.bool if expected.dtype.kind == "b" else not got.is_complex()
        assert not got.is_floating_point()
        np.testing.assert_array_equal(got.numpy(), expected)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed numbers that float32 holds exactly."""
    numbers = np.random.default_rng(seed).normal(size=shape)
    return numbers.astype(np.float32).astype(np.float64)


def uniform(low: float, high: float, *shape: int, seed: int = 0) -> np.ndarray:
    """Evenly distributed numbers that float32 holds exactly."""
    numbers = np.random.default_rng(seed).uniform(low, high, shape)
    return numbers.astype(np.float32).astype(np.float64)


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return "x".join(map(str, value.shape)) or "scalar"
    if isinstance(value, list):
        return "[" + " ".join(_shown(one) for one in value) + "]"
    return str(value)
