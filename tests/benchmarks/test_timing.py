"""Ratios of times, and the order of turns."""

from __future__ import annotations

import pytest

from benchmarks.timing import Times, compare, rotated, within_rounds


def times(*walls: float) -> list[Times]:
    return [Times(wall_ms=wall, processor_ms=2 * wall, turns_ms=(wall,)) for wall in walls]


def test_a_ratio_is_taken_within_each_round() -> None:
    # The machine slows down for the last rounds: medians of turns, 9 and 3, would give 3.
    slow, fast = Times(9, 9, (2, 6, 9, 10, 40)), Times(3, 3, (1, 3, 3, 5, 20))
    assert within_rounds(slow, fast) == 2


def test_a_ratio_is_taken_within_each_process() -> None:
    # Each process has a speed of its own; the medians, 30 and 4, would give 7.5.
    ratio = compare(times(10, 30, 80), times(5, 15, 4))
    assert ratio.median == 2
    assert ratio.processor == 2


def test_the_interval_of_five_processes_is_their_range() -> None:
    ratio = compare(times(1.1, 1.3, 1.2, 1.9, 1.0), times(1, 1, 1, 1, 1))
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((1.0, 1.2, 1.9))


def test_the_interval_narrows_with_more_processes() -> None:
    few = [1.0, 1.1, 1.2, 1.3, 1.4]
    narrow = compare(times(*few * 8), times(*[1] * 40))
    assert 1.0 < narrow.low < 1.2 < narrow.high < 1.4


def test_a_file_that_always_takes_as_long_again_has_no_uncertainty() -> None:
    ratio = compare(times(4, 6, 10), times(2, 3, 5))
    assert (ratio.low, ratio.high) == (2, 2)


def test_times_of_different_numbers_of_processes_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compare(times(1, 2, 3), times(1, 2))


def test_over_as_many_rounds_as_files_each_is_first_once_and_follows_the_same_one() -> None:
    rounds = [rotated("abc", turn) for turn in range(3)]
    assert rounds == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]
    assert rotated("abc", 5) == rounds[2]
