"""What samples say, and what may be believed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats  # type: ignore[import-untyped]

from android_harness.medians import middle, relative_spread, repeat_median
from android_harness.records import (
    Clock,
    Conditions,
    Measurement,
    Options,
    ParityOnDevice,
    Repeat,
    Timings,
)
from android_harness.stats import SPREAD_BOUND, assess, median_interval, statistics
from tests.android_harness.measured import CALM, STEADY, measurement, repeat


def with_samples(*sets: tuple[float, ...]) -> Measurement:
    repeats = tuple(
        replace(repeat(index, 1.0), timings=Timings(samples=samples))
        for index, samples in enumerate(sets)
    )
    return measurement(repeats=repeats)


def test_figures_of_known_samples() -> None:
    of = statistics(with_samples(tuple(map(float, range(1, 102))), (40.0,) * 101, (90.0,) * 101))
    assert of.medians == (51.0, 40.0, 90.0)
    assert of.median == 51.0  # each repeat counts once
    assert of.samples == 303
    pooled = np.concatenate([np.arange(1, 102), np.full(101, 40), np.full(101, 90)])
    assert of.p90 == np.percentile(pooled, 90) == 90
    assert of.p99 == np.percentile(pooled, 99) == pytest.approx(97.98)
    assert of.spread == pytest.approx(np.std([51, 40, 90], ddof=1) / np.mean([51, 40, 90]))
    assert of.interval == (40.0, 90.0)


@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_middle_and_spread_are_those_of_numpy(count: int) -> None:
    values = [*np.random.default_rng(count).lognormal(2.3, 0.5, count)]
    assert middle(values) == pytest.approx(np.median(values))
    assert relative_spread(values) == pytest.approx(np.std(values, ddof=1) / np.mean(values))


def test_the_spread_of_times_that_are_none_is_no_number() -> None:
    assert math.isnan(relative_spread((0.0, 0.0)) or 0.0)


def test_the_iqr_is_that_within_repeats() -> None:
    near, far = tuple(map(float, range(1, 102))), tuple(map(float, range(1000, 1202, 2)))
    assert statistics(with_samples(near, far)).iqr == 75.0  # of 50 and 100


def test_percentiles_need_samples_on_both_sides() -> None:
    of = statistics(with_samples((1.0,) * 4, (2.0,) * 5))
    assert (of.p90, of.p99) == (None, None)
    of = statistics(with_samples((1.0,) * 49, (2.0,) * 50))
    assert (of.p90, of.p99) == (2.0, None)
    assert statistics(with_samples((1.0,) * 50, (2.0,) * 50)).p99 == 2.0


def test_what_a_tool_does_not_give_stays_absent() -> None:
    printed = Timings(summary={"median": 9.0, "p95": 12.0, "avg": 9.5})
    measured = measurement(repeats=tuple(replace(repeat(n, 1.0), timings=printed) for n in (0, 1)))
    of = statistics(measured)
    assert (of.medians, of.median, of.spread) == ((9.0, 9.0), 9.0, 0.0)
    assert (of.samples, of.p90, of.p99, of.iqr) == (None, None, None, None)
    only_average = replace(repeat(0, 1.0), timings=Timings(summary={"avg": 9.5}))
    assert repeat_median(only_average) is None
    of = statistics(measurement(repeats=(only_average,)))
    assert (of.medians, of.median, of.interval, of.spread) == ((), None, None, None)


def test_some_repeats_without_samples_leave_no_common_figures() -> None:
    half = measurement(
        repeats=(repeat(0, 10.0), replace(repeat(1, 1.0), timings=Timings(summary={"median": 9.0})))
    )
    of = statistics(half)
    assert of.medians == (10.0, 9.0)
    assert (of.samples, of.iqr, of.p90) == (None, None, None)


@pytest.mark.parametrize("count", [2, 5, 6, 30])
def test_the_interval_is_that_of_scipy(count: int) -> None:
    medians = np.random.default_rng(count).lognormal(2.3, 0.02, count)
    theirs = scipy_stats.bootstrap(
        (medians,), np.median, method="percentile", n_resamples=9999, rng=1
    ).confidence_interval
    ours = median_interval([*medians])
    assert ours == pytest.approx((theirs.low, theirs.high), rel=0.003)
    assert ours == median_interval([*medians])  # the same each time


def test_with_five_repeats_the_interval_is_their_range() -> None:
    assert median_interval((5.0, 1.0, 3.0, 2.0, 4.0)) == (1.0, 5.0)
    assert median_interval((5.0,)) is None


def test_valid() -> None:
    assert assess(measurement()) == ("valid", ())


def test_no_verdict_while_repeats_are_missing() -> None:
    assert assess(replace(measurement(), repeats=measurement().repeats[:4])) == (None, ())
    failed = ParityOnDevice("fail")
    verdict, (reason,) = assess(replace(measurement(), repeats=(), parity=failed))
    assert verdict == "invalid" and reason.startswith("parity on the device failed")  # for good


def changed(**changes: object) -> Callable[[Repeat], Repeat]:
    return lambda one: replace(one, **changes)


def conditions(**changes: object) -> Conditions:
    return replace(CALM, **changes)


def timed(*samples: float) -> Callable[[Repeat], Repeat]:
    return changed(timings=Timings(samples=samples))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (changed(faults=("the screen went\non",)), "repeat 3: the screen went on"),
        (changed(after=conditions(thermal_status=1)), "repeat 3: throttled: thermal status 1"),
        (changed(before=conditions(thermal_status=3)), "repeat 3: throttled: thermal status 3"),
        (
            changed(after=conditions(clocks={0: Clock(600_000, 1_700_000)})),
            "repeat 3: throttled: core 0 was allowed 1800 MHz at first, then 1700 MHz",
        ),
        (timed(*(10.0,) * 4), "repeat 3: too short: 4 of 5 iterations"),
        (timed(10.0, 10.0, math.nan, 10.0, 10.0), "repeat 3: it has times that are none"),
        (timed(10.0, 10.0, math.inf, 10.0, 10.0), "repeat 3: it has times that are none"),
        (timed(10.0, 10.0, 0.0, 10.0, 10.0), "repeat 3: it has times that are none"),
        (timed(10.0, 10.0, -1.0, 10.0, 10.0), "repeat 3: it has times that are none"),
        (
            changed(timings=Timings(summary={"avg": 10.0})),
            "repeat 3: no median: the tool printed neither samples nor one",
        ),
    ],
)
def test_a_repeat_that_makes_it_invalid(change: Callable[[Repeat], Repeat], reason: str) -> None:
    measured = measurement()
    repeats = (*measured.repeats[:2], change(measured.repeats[2]), *measured.repeats[3:])
    assert assess(replace(measured, repeats=repeats)) == ("invalid", (reason,))


def test_too_little_time() -> None:
    measured = measurement(options=Options(iterations=5, min_seconds=0.06))
    verdict, reasons = assess(measured)  # five times 10 ms each
    assert verdict == "invalid"
    assert reasons[0] == "repeat 1: too short: 0.05 of 0.06 s" and len(reasons) == 5
    assert assess(measurement(options=Options(iterations=5, min_seconds=0.05)))[0] == "valid"


def test_clocks_may_be_rounded_and_may_rise() -> None:
    for allowed in (1_790_000, 2_000_000, None):
        after = conditions(clocks={0: Clock(None, allowed), 7: Clock(1, 2)})
        repeats = tuple(replace(one, after=after) for one in measurement().repeats)
        assert assess(measurement(repeats=repeats)) == ("valid", ())


def test_parity_on_the_device() -> None:
    failed = measurement(parity=ParityOnDevice("fail", 0.5, "output 0 differs"))
    assert assess(failed) == ("invalid", ("parity on the device failed: output 0 differs",))
    unverified = measurement(parity=ParityOnDevice("unverified", None, "no output file"))
    assert assess(unverified) == (
        "valid",
        ("outputs on the device could not be checked: no output file",),
    )
    assert assess(measurement(parity=None)) == (
        "valid",
        ("outputs on the device were not checked",),
    )


def test_noisy() -> None:
    medians = np.array([-1.0, -1.0, 0.0, 1.0, 1.0])  # their standard deviation is 1
    quiet, loud = (10 * (1 + part * SPREAD_BOUND * medians) for part in (0.99, 1.01))
    assert assess(measurement([*quiet]))[0] == "valid"
    verdict, reasons = assess(measurement([*loud]))
    assert verdict == "noisy"
    assert reasons == ("the repeats' medians spread by 1.5%, more than 1.5%",)
    assert assess(measurement(STEADY[:1])) == (
        "noisy",
        ("a single repeat does not show how much repeats differ",),
    )
