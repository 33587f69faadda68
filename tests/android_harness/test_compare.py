"""Two measurements side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from scipy import stats as scipy_stats  # type: ignore[import-untyped]

from android_harness.compare import compare, pair, ratio_of_medians
from android_harness.records import Clock, DeviceInfo, Measurement, Options, Subject, Timings
from android_harness.store import Summary
from tests.android_harness.measured import (
    CALM,
    EMULATOR,
    OPTIONS,
    PHONE,
    STEADY,
    SUBJECT,
    measurement,
    slower,
)


def test_a_slower_file() -> None:
    a = measurement()
    b = slower(a, 1.05)
    there, back = compare(a, b), compare(b, a)
    assert (there.verdict, back.verdict) == ("slower", "faster")
    assert there.ratio == pytest.approx(1.05)
    assert back.ratio == pytest.approx(1 / 1.05)
    assert there.interval and 1.04 < there.interval[0] < 1.05 < there.interval[1] < 1.06
    assert (there.reasons, there.notes) == ((), ())


def test_no_difference() -> None:
    a = measurement()
    found = compare(a, slower(a, 1.001))
    assert found.verdict == "no difference shown"
    assert found.interval and found.interval[0] < 1 < found.interval[1]


def test_more_than_a_limit() -> None:
    a = measurement()
    assert compare(a, slower(a, 1.05)).slower_by(0.03)
    assert not compare(a, slower(a, 1.02)).slower_by(0.03)
    assert not compare(a, slower(a, 0.9)).slower_by(0.03)
    # A ratio over the limit that the repeats do not show.
    noisy = measurement([8.0, 9.0, 10.0, 11.0, 12.0])
    found = compare(noisy, slower(noisy, 1.05))
    assert found.ratio == pytest.approx(1.05)
    assert not found.slower_by(0.03)


def test_the_interval_is_that_of_scipy() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.lognormal(2.3, 0.03, 7), rng.lognormal(2.35, 0.03, 8)
    theirs = scipy_stats.bootstrap(
        (a, b),
        lambda one, other, axis: np.median(other, axis=axis) / np.median(one, axis=axis),
        method="percentile",
        n_resamples=9999,
        rng=1,
    ).confidence_interval
    ratio, ours = ratio_of_medians([*a], [*b])
    assert ratio == np.median(b) / np.median(a)
    assert ours == pytest.approx((theirs.low, theirs.high), rel=0.003)
    assert ratio_of_medians([*a], [*b]) == (ratio, ours)


def shown(a: np.ndarray, b: np.ndarray) -> int:
    """1 if B is shown to be slower, -1 if faster, 0 otherwise."""
    _, (low, high) = ratio_of_medians([*a], [*b])
    return int(low > 1) - int(high < 1)


@pytest.mark.parametrize(("one", "other"), [(5, 5), (5, 10)])
def test_false_alarms_and_true_ones(one: int, other: int) -> None:
    """The small form of docs/harness.md: 200 trials with repeats that vary by 1.2%."""
    rng = np.random.default_rng(3)
    trials = range(200)
    alarms = sum(
        shown(rng.lognormal(2, 0.012, one), rng.lognormal(2, 0.012, other)) != 0 for _ in trials
    )
    assert alarms <= 10
    found = sum(
        shown(rng.lognormal(2, 0.012, one), 1.05 * rng.lognormal(2, 0.012, other)) == 1
        for _ in trials
    )
    assert found >= 190


def conditions(**changes: object) -> Callable[[Measurement], Measurement]:
    """All repeats begin under these conditions."""
    before = replace(CALM, **changes)
    return lambda one: replace(
        one, repeats=tuple(replace(each, before=before) for each in one.repeats)
    )


def device(**changes: object) -> Callable[[Measurement], Measurement]:
    return lambda one: replace(one, device=replace(PHONE, **changes))


def options(**changes: object) -> Callable[[Measurement], Measurement]:
    return lambda one: replace(one, options=replace(one.options, **changes))


def subject(**changes: object) -> Callable[[Measurement], Measurement]:
    return lambda one: replace(one, subject=replace(one.subject, **changes))


def fields(**changes: object) -> Callable[[Measurement], Measurement]:
    return lambda one: replace(one, **changes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (fields(device=EMULATOR), "B was measured on an emulated device, the other on a real one"),
        (device(serial="R5CT11"), "devices differ: R5CT10 and R5CT11"),
        (device(model="Pixel 9"), "devices differ: Pixel 8 and Pixel 9"),
        (device(os=None), "systems differ: Android 14 (API 34) and none"),
        (device(serial="a\x1b[31m\nb"), "devices differ: R5CT10 and a?[31m b"),
        (
            subject(inputs=("1x192x192x3 float32",)),
            "inputs differ: 1x256x256x3 float32 and 1x192x192x3 float32",
        ),
        (
            subject(inputs=("1x256x256x3 uint8",)),
            "inputs differ: 1x256x256x3 float32 and 1x256x256x3 uint8",
        ),
        (options(threads=4), "threads differs: 1 and 4"),
        (options(cores=0xF0), "cores differs: none and 240"),
        (options(backend="gpu"), "backend differs: xnnpack and gpu"),
        (options(runner="benchmark_model"), "runner differs: mvkit and benchmark_model"),
        (options(warmup=0), "warmup differs: 5 and 0"),
        (options(max_temperature=35.0), "max temperature differs: none and 35.0"),
        (
            conditions(charging=True),
            "conditions differ: the device was charging in no repeat of A and in all repeats of B",
        ),
        (
            conditions(screen_on=False),
            "conditions differ: the screen was on in all repeats of A and in no repeat of B",
        ),
        (
            conditions(battery_temperature=35.0),
            "conditions differ: the battery had 29 °C in A and 35 °C in B",
        ),
        (
            conditions(clocks={0: Clock(600_000, 1_500_000)}),
            "conditions differ: core 0 was allowed 1800 MHz in A and 1500 MHz in B",
        ),
        (
            fields(validity="invalid", reasons=("repeat 1: throttled",)),
            "B is invalid: repeat 1: throttled",
        ),
        (fields(validity=None), "B is unfinished: 5 of 5 repeats"),
        (
            lambda one: replace(one, repeats=one.repeats[:4]),
            "B has 4 repeats with a median; at least 5 are needed",
        ),
        (
            lambda one: replace(
                one,
                repeats=tuple(
                    replace(each, timings=Timings(summary={"avg": 10.0})) for each in one.repeats
                ),
            ),
            "B has 0 repeats with a median; at least 5 are needed",
        ),
    ],
)
def test_what_is_not_comparable(change: Callable[[Measurement], Measurement], reason: str) -> None:
    a = measurement()
    found = compare(a, change(slower(a, 1.5)))
    assert found.verdict == "not comparable"
    assert found.reasons == (reason,)
    assert (found.ratio, found.interval) == (None, None)
    assert not found.slower_by(0.0)


def test_a_run_with_itself() -> None:
    a = measurement()
    assert compare(a, a).reasons == ("A and B are the same run",)


@pytest.mark.parametrize(
    "change",
    [
        subject(name="mobilevit_s", sha256="cd" * 32, target="executorch", precision="int8"),
        subject(inputs=("1x3x256x256 float32",)),  # another layout of the same
        subject(inputs=()),
        options(iterations=100, min_seconds=2.0),
        conditions(battery_temperature=33.0, charging=None),
        conditions(clocks={0: Clock(1_800_000, 1_790_000), 1: Clock(None, 5)}),
        fields(labels={}),
    ],
)
def test_what_may_differ(change: Callable[[Measurement], Measurement]) -> None:
    a = measurement()
    assert compare(a, change(slower(a, 1.5))).verdict == "slower"


def test_emulated_devices_are_marked() -> None:
    a = measurement(device=EMULATOR)
    found = compare(a, slower(a, 1.5))
    assert found.verdict == "slower" and found.emulated
    assert not compare(measurement(), measurement()).emulated


def test_notes() -> None:
    a = measurement()
    b = slower(a, 1.5)
    repeats = tuple(replace(one, timings=replace(one.timings, delegate=None)) for one in b.repeats)
    b = replace(b, repeats=repeats, validity="noisy", reasons=("they spread",))
    assert compare(a, b).notes == (
        "B is noisy: they spread",
        "a device that drifts looks like a difference; files that take turns show what is one",
        "delegates differ: XNNPACK in A, none in B",
    )


def summary(
    name: str = "net",
    subject: Subject = SUBJECT,
    device: DeviceInfo = PHONE,
    options: Options = OPTIONS,
    hour: int = 0,
) -> Summary:
    created = CALM.moment + timedelta(hours=hour)
    return Summary(name, created, subject, device, options, {}, STEADY, "valid", ())


def test_two_runs_are_a_pair_whatever_they_are() -> None:
    a, b = summary("a"), summary("b", replace(SUBJECT, precision="int8"), EMULATOR)
    assert pair([a], [b]).pairs == ((a, b),)
    older = summary("older", hour=-1)
    assert pair([a, older], [b]).pairs == ((a, b),)


def test_runs_are_paired_by_what_was_measured() -> None:
    small, large = (replace(SUBJECT, name=name) for name in ("small", "large"))
    a = [
        summary("a1", small),
        summary("a2", large),
        summary("a3", small, options=replace(OPTIONS, threads=4)),
        summary("a4", small, device=EMULATOR),
        summary("a5", small, hour=-1),
    ]
    b = [
        summary("b1", replace(small, sha256="cd" * 32), options=replace(OPTIONS, iterations=9)),
        summary("b2", small, options=replace(OPTIONS, threads=4)),
        summary("b3", large, options=replace(OPTIONS, backend="gpu")),
    ]
    found = pair(a, b)
    assert [(one.identity, other.identity) for one, other in found.pairs] == [
        ("a1", "b1"),
        ("a3", "b2"),
    ]
    assert [one.identity for one in found.only_a] == ["a2", "a4"]
    assert [one.identity for one in found.only_b] == ["b3"]
