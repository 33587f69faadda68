"""Whether a constant of an fp16 program is its fp32 twin's, rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtimes.mil.program import Content, Value, ValueType

_SMALLEST = np.float16(2**-24)  # above 0
_SHORT = 8  # numbers that are shown in full


def fault_of_constant(single: Value, half: Value) -> str | None:
    """What is wrong with the constant `half` of the fp16 program, whose twin has `single`.

    None if it holds the same, or for floats each number rounded to the nearest; see
    `fault_of_rounding`.
    """
    if not isinstance(single.type, ValueType) or not isinstance(half.type, ValueType):
        same = single.type == half.type and _same(single.read(), half.read())
        return None if same else "is another list"
    if single.type.shape != half.type.shape:
        return f"has shape {list(half.type.shape)}, not {list(single.type.shape)}"
    a, b = single.read(), half.read()
    if isinstance(a, str) and isinstance(b, str):
        return None if a == b else f"is '{b}', not '{a}'"
    if (single.type.dtype, half.type.dtype) == ("fp32", "fp16"):
        return fault_of_rounding(np.asarray(a), np.asarray(b))
    if single.type.dtype != half.type.dtype:
        return f"is {half.type.dtype}, not {single.type.dtype}"
    return _fault_at(np.asarray(a), np.asarray(b), ~_equal(np.asarray(a), np.asarray(b)))


def fault_of_rounding(single: NDArray[np.float32], half: NDArray[np.float16]) -> str | None:
    """What is wrong with `half`, of the same shape as `single`; None if it is that, rounded.

    Each number has to be the nearest, with ties to even. One that would round to 0 may have become
    the smallest of its sign instead, and a constant of one number has to: an epsilon of 1e-12
    becomes 5.96e-8 and does not vanish. A finite number that becomes infinite is a fault.
    """
    with np.errstate(over="ignore"):
        rounded = np.asarray(single.astype(np.float16))
    lost = np.isfinite(single) & np.isinf(rounded)
    if lost.any():
        largest = np.abs(single[lost]).max()
        return f"leaves the range of fp16 (up to {largest:.4g}, {lost.sum()} of {lost.size} values)"
    vanishing = (rounded == 0) & (single != 0)
    smallest = np.copysign(_SMALLEST, single).astype(np.float16)
    if single.size == 1:
        rounded = np.where(vanishing, smallest, rounded)
    raised = vanishing & (half == smallest)
    return _fault_at(rounded, half, ~(_equal(rounded, half) | raised))


def _equal(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Element by element, the sign of a zero included; NaN equals NaN."""
    equal = a == b
    if a.dtype.kind == "f":
        equal = (equal & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b))
    return np.asarray(equal)


def _fault_at(expected: NDArray[Any], actual: NDArray[Any], wrong: NDArray[np.bool_]) -> str | None:
    """The constant if it is short, or how many of its numbers are wrong, with the first."""
    if not wrong.any():
        return None
    if wrong.size == 1 or (wrong.size <= _SHORT and expected.dtype.kind != "f"):
        return f"is {actual.tolist()}, not {expected.tolist()}"
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"differs in {wrong.sum()} of {wrong.size} values, first at {list(where)}: "
        f"{actual[where]:.6g}, not {expected[where]:.6g}"
    )


def _same(a: Content, b: Content) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and np.array_equal(np.asarray(a), np.asarray(b))
