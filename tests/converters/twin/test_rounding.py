"""Rounding to half precision, beside that of Python's struct module."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from converters.twin.rounding import fault_of_rounding


def by_struct(value: float) -> float:
    return struct.unpack("<e", struct.pack("<e", value))[0]


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_every_kind_of_number_rounds_to_the_nearest() -> None:
    g = np.random.default_rng(0)
    exponents = g.uniform(-26, 15.9, 4000)
    values = (np.exp2(exponents) * g.choice([-1, 1], 4000)).astype(np.float32)
    halves = np.array([by_struct(float(v)) for v in values], np.float16)
    assert (np.abs(halves[halves != 0]) < 2**-14).any()  # subnormal numbers are among them
    assert fault_of_rounding(values, halves) is None


@pytest.mark.parametrize("ulps", [1, -1])
@pytest.mark.parametrize("value", [1.0, -0.3, 1e-5, 6e-8, 65504.0, 2049.0])
def test_a_neighbour_of_the_nearest_is_a_fault(value: float, ulps: int) -> None:
    half = np.array([1, by_struct(value)], np.float16)
    assert fault_of_rounding(numbers(1, value), half) is None
    with np.errstate(over="ignore"):
        half[1] = np.nextafter(half[1], np.float16(math.copysign(math.inf, ulps)))
    fault = fault_of_rounding(numbers(1, value), half)
    assert fault is not None and "differs in 1 of 2 values, first at [1]" in fault


@pytest.mark.parametrize(("value", "half"), [(2049.0, 2050), (4098.0, 4096), (2051.0, 2050)])
def test_ties_go_to_even_numbers(value: float, half: float) -> None:
    assert (fault_of_rounding(numbers(value), np.array([half], np.float16)) is None) == (
        half == by_struct(value)
    )


def test_an_epsilon_becomes_the_smallest_number_and_does_not_vanish() -> None:
    epsilon = np.array(1e-12, np.float32)
    assert fault_of_rounding(epsilon, np.array(5.96e-8, np.float16)) is None
    assert (
        fault_of_rounding(epsilon, np.array(0, np.float16)) == "is 0.0, not 5.960464477539063e-08"
    )
    assert fault_of_rounding(epsilon, np.array(-5.96e-8, np.float16)) is not None
    assert fault_of_rounding(epsilon, np.array(1.2e-7, np.float16)) is not None
    # In a long constant both occur: the converter raises numbers in short ones only.
    for half in (0, 5.96e-8):
        assert fault_of_rounding(numbers(1, 1e-12), np.array([1, half], np.float16)) is None
    assert fault_of_rounding(numbers(0), np.array([5.96e-8], np.float16)) is not None


def test_what_leaves_the_range_is_a_fault() -> None:
    infinite = np.array([1, np.inf], np.float16)
    fault = fault_of_rounding(numbers(1, 70000), infinite)
    assert fault == "leaves the range of fp16 (up to 7e+04, 1 of 2 values)"
    assert fault_of_rounding(numbers(1, 70000), np.array([1, 65504], np.float16)) is not None
    assert fault_of_rounding(numbers(1, np.inf), infinite) is None
    assert fault_of_rounding(numbers(1, -np.inf), infinite) is not None
    assert fault_of_rounding(numbers(1, 65519), np.array([1, 65504], np.float16)) is None


def test_zeros_keep_their_sign_and_what_is_no_number_stays_so() -> None:
    assert fault_of_rounding(numbers(-0.0), np.array([-0.0], np.float16)) is None
    assert fault_of_rounding(numbers(-0.0), np.array([0.0], np.float16)) is not None
    assert fault_of_rounding(numbers(np.nan), np.array([np.nan], np.float16)) is None
    assert fault_of_rounding(numbers(1), np.array([np.nan], np.float16)) is not None
