"""What the benchmark of the device harness makes of what it has measured."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.harness import with_part
from benchmarks.harness_parts.part import timed, timing_row
from benchmarks.harness_parts.placement import pages_from_elsewhere
from benchmarks.harness_parts.runners import summary, verdict
from benchmarks.harness_parts.statistics import (
    in_order,
    proportion_interval,
    shown,
    shown_in_turns,
    trial_rows,
    turn_rows,
)
from benchmarks.harness_parts.turns import Side, alone, take_turns


def test_a_part_replaces_its_own_results_and_no_others() -> None:
    kept = [{"part": "devices", "rows": [1]}, {"part": "store", "rows": [2]}]
    found = with_part(kept, {"part": "store", "rows": [3]})
    assert found == [kept[0], {"part": "store", "rows": [3]}]
    found = with_part(found, {"part": "push", "rows": [4]})
    assert [one["part"] for one in found] == ["devices", "push", "store"]


def test_a_goal_is_met_by_the_median() -> None:
    row = timing_row("x", [0.4, 0.5, 0.9], 0.5)
    assert (row["median_s"], row["slowest_s"], row["met"]) == (0.5, 0.9, True)
    assert timing_row("x", [0.4, 0.51, 0.6], 0.5)["met"] is False
    assert timing_row("x", [0.4])["met"] is None


def test_work_is_timed_as_often_as_asked() -> None:
    calls: list[int] = []
    assert len(timed(lambda: calls.append(1), 3)) == len(calls) == 3


_COUNT = """
import sys, time
begun, other, turns = time.monotonic(), None, 0
while time.monotonic() - begun < 1.5:
    time.sleep(0.005)
    now = time.monotonic()
    turns += other is not None and now - other > 0.05  # it was stopped meanwhile
    other = now
print(turns + float(sys.argv[1]))
"""


def test_processes_take_turns_and_each_gives_its_own_result() -> None:
    one, other = (
        Side([sys.executable, "-c", _COUNT, text], float, start_s=start)
        for text, start in (("0", 0.1), ("1000", 0.0))
    )
    first, second = take_turns(one, other)
    assert 2 <= first < 1000 and second >= 1002
    median, seconds = alone(other)
    assert median >= 1000 and seconds > 1.5


def test_memory_is_held_for_as_long_as_a_pair_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])  # pages

    monkeypatch.setattr(os, "sysconf", lambda name: 40_000)  # a quarter may be held
    rng, before, held = np.random.default_rng(0), resident(), []
    for _ in range(3):
        with pages_from_elsewhere(rng):
            held.append(resident() - before)
        assert abs(resident() - before) < 500
    wanted = np.random.default_rng(0).uniform(1, 10_000, 3)
    assert held == pytest.approx(wanted, abs=500)


def test_a_process_that_fails_ends_both() -> None:
    good = Side([sys.executable, "-c", _COUNT, "0"], float)
    bad = Side([sys.executable, "-c", "raise SystemExit(3)"], float)
    with pytest.raises(subprocess.CalledProcessError):
        take_turns(good, bad)


def test_the_metric_is_the_median_over_pairs() -> None:
    found = summary([(2.0, 2.0), (3.0, 2.0), (4.0, 2.0)])
    assert (found["native_ms"], found["vendors_ms"]) == (3.0, 2.0)
    assert (found["more_percent"], found["lowest"], found["highest"]) == (50.0, 0.0, 100.0)
    assert found["met"] == "open"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-3.0, 3.0, "yes"),
        (0.1, 2.9, "yes"),  # slower, and within the goal
        (2.0, 3.1, "open"),
        (-4.0, 4.0, "open"),
        (3.1, 5.0, "no"),
        (-9.0, -3.1, "no"),  # faster is no agreement either
    ],
)
def test_the_whole_interval_has_to_lie_within_the_goal(
    low: float, high: float, expected: str
) -> None:
    assert verdict(low, high) == expected


def test_stretches_in_order_are_of_neighbours_and_do_not_overlap() -> None:
    draw, rng = in_order(np.arange(12.0)), np.random.default_rng(0)
    firsts, starts = set(), set()
    for _ in range(300):
        a, b = draw(rng, 4, 6)
        assert (len(a), len(b)) == (4, 6)
        assert set(np.diff(a)) == set(np.diff(b)) == {1.0}
        assert not set(a) & set(b)
        firsts.add("a" if a[0] < b[0] else "b")
        starts |= {a[0], b[0]}
    assert firsts == {"a", "b"} and starts == {0, 1, 2, 4, 5, 6, 7, 8}


def test_what_is_shown_is_counted() -> None:
    def apart(rng: np.random.Generator, of_a: int, of_b: int) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(of_a), np.full(of_b, 0.5)

    assert shown(apart, 5, 5, 1.0, 7) == 7  # faster is a false alarm as well
    assert shown(apart, 5, 5, 1.05, 7) == 0  # and no find of a slowdown
    assert shown(apart, 5, 5, 2.1, 7) == 7


def test_what_is_shown_in_turns_is_counted() -> None:
    def faster(rng: np.random.Generator) -> np.ndarray:
        return np.array([0.5, 0.51, 0.52, 0.5, 0.49])

    assert shown_in_turns(faster, 1.0, 7) == 7
    assert shown_in_turns(faster, 1.05, 7) == 0
    assert shown_in_turns(faster, 2.2, 7) == 7


def test_rows_of_turns_have_the_spread_of_ratios() -> None:
    # Twenty pairs that are normal to the letter, so that Student's interval errs in one of twenty.
    pairs = np.exp(0.01 * stats.norm.ppf((np.arange(20) + 0.5) / 20))
    spread = 100 * np.std(pairs, ddof=1) / np.mean(pairs)
    shuffled = np.random.default_rng(0).permutation(pairs)
    independent, in_order = turn_rows(np.repeat(shuffled, 2), 1000)
    assert (independent["noise"], in_order["noise"]) == (
        "in turns, as measured",
        "in turns, in order",
    )
    assert independent["spread"] == in_order["spread"] == pytest.approx(spread)
    assert independent["found"] == in_order["found"] == 100
    assert independent["lowest"] <= 5 <= independent["highest"]
    # A machine that slows down from pair to pair has neighbours on the same side of 1.
    _, drifting = turn_rows(np.repeat(pairs, 2), 1000)
    assert in_order["false_alarms"] < 5 < 50 < drifting["false_alarms"]


def test_wilsons_interval() -> None:
    low, high = proportion_interval(50, 1000)
    assert (low, high) == (pytest.approx(0.0381, abs=1e-4), pytest.approx(0.0653, abs=1e-4))


def test_rows_begin_with_the_noise_that_was_measured() -> None:
    medians = [*np.random.default_rng(0).normal(10, 0.1, 20)]
    rows = list(trial_rows(medians, 5))
    assert [row["repeats"] for row in rows[:3]] == ["5 and 5", "5 and 10", "10 and 10"]
    assert rows[0]["noise"] == "as measured" and rows[3]["noise"] == "as measured, in order"
    assert rows[0]["spread"] == pytest.approx(100 * np.std(medians, ddof=1) / np.mean(medians))
    assert all(0 <= row["lowest"] <= row["false_alarms"] <= row["highest"] for row in rows)
