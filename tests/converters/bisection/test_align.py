"""Tensors found by value, whatever their axes; NumPy's own transposes are the oracle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.bisection.align import Aligner, Match, orders, relative_error
from converters.bisection.source_trace import SourceValue

NOISE = 8.0
ROUNDING = 1e-6
Array = NDArray[np.float32]


def value(index: int, array: Array, *inner: Array) -> SourceValue:
    return SourceValue(index, "op", "", array, (), index, inner, ROUNDING, (ROUNDING,) * len(inner))


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def matches(known: list[SourceValue], array: Array) -> list[Match]:
    return Aligner(known, NOISE).matches(array)


IMAGE = numbers(1, 6, 4, 5)


@pytest.mark.parametrize(
    ("turn", "rearranged"),
    [
        (lambda x: x, False),
        (lambda x: x.transpose(0, 2, 3, 1), False),
        (lambda x: x.transpose(0, 2, 3, 1).reshape(20, 6), False),
        (lambda x: x.reshape(6, 20), False),
        (lambda x: x.transpose(0, 1, 3, 2), False),
        (lambda x: x.transpose(0, 3, 1, 2), False),
        (lambda x: x.transpose(0, 3, 2, 1), True),
    ],
)
def test_an_order_of_axes_is_seen_through(turn: Callable[[Array], Array], rearranged: bool) -> None:
    (match,) = matches([value(0, numbers(1, 6, 4, 5, seed=1)), value(1, IMAGE)], turn(IMAGE))
    assert match.value == 1 and match.rearranged == rearranged
    np.testing.assert_array_equal(match.order.of(IMAGE).ravel(), turn(IMAGE).ravel())


def test_no_order_of_axes_is_no_match() -> None:
    assert not matches([value(0, IMAGE)], IMAGE[:, ::-1])
    assert Aligner([value(0, IMAGE)], NOISE).resembles(IMAGE[:, ::-1])


@pytest.mark.parametrize(("error", "found"), [(0.5, True), (2.0, False)])
def test_rounding_is_allowed_for_and_no_more(error: float, found: bool) -> None:
    scale = np.abs(IMAGE).max()
    off = IMAGE.copy()
    off[0, 3, 1, 2] += error * NOISE * ROUNDING * scale
    assert bool(matches([value(0, IMAGE)], off)) == found


def test_a_step_inside_an_operator_comes_after_values_of_its_own() -> None:
    step, own = value(0, numbers(1, 6, 4, 5, seed=1), IMAGE), value(1, IMAGE)
    first, second = matches([step, own], IMAGE)
    assert (first.value, first.inner) == (1, False)
    assert (second.value, second.inner) == (0, True)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_nothing(wrong: float) -> None:
    off = IMAGE.copy()
    off[0, 0, 0, 0] = wrong
    assert not matches([value(0, IMAGE)], off)
    assert relative_error(IMAGE, off) == np.inf


def test_relative_error_is_relative_to_the_largest_magnitude() -> None:
    reference = np.array([1.0, -4.0])
    assert relative_error(reference, np.array([1.5, -4.0])) == pytest.approx(0.125)
    assert relative_error(reference, np.array([1.0])) == np.inf
    assert relative_error(np.zeros(2), np.array([0.0, 0.25])) == 0.25


def test_orders_are_each_tried_once() -> None:
    axes = [order.axes for order in orders((1, 6, 4, 5))]
    assert len(axes) == len(set(axes)) == 6
    assert len(orders((2, 3, 4, 5, 6, 7))) == 4  # too many axes to try them all
