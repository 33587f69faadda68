"""Measurements for tests: one that can be varied, and any that the records allow."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from android_harness.records import (
    Clock,
    Conditions,
    DeviceInfo,
    Measurement,
    Options,
    ParityOnDevice,
    ProfileRow,
    Repeat,
    Subject,
    Timings,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PHONE = DeviceInfo("R5CT10", "adb", "Pixel 8", "Tensor G3", "Android 14 (API 34)", ("arm64-v8a",))
EMULATOR = DeviceInfo("emulator-5554", "adb", "sdk_gphone64", emulated=True)
SUBJECT = Subject("mobilevit_xs", "ab" * 32, "tflite", "fp32", ("1x256x256x3 float32",))
CALM = Conditions(
    START, 0, {"skin": 31.5}, 80, 29.0, False, True, {0: Clock(600_000, 1_800_000)}
)  # fmt: skip
# Five repeats of five iterations, so that tests say what differs and no more.
OPTIONS = Options(iterations=5, min_seconds=0.0)
STEADY = (10.0, 10.02, 10.04, 10.06, 10.08)  # medians of repeats, in ms


def repeat(index: int, median: float, **changes: Any) -> Repeat:
    """A repeat of five samples around a median (ms)."""
    samples = tuple(median + step for step in (-0.2, -0.1, 0.0, 0.1, 0.3))
    timings = Timings(5.0, None, 12.0, (11.0, 10.5), samples, delegate="XNNPACK")
    return replace(Repeat(index, timings, CALM, CALM), **changes)


def measurement(medians: Sequence[float] = STEADY, **changes: Any) -> Measurement:
    """A finished and valid measurement of these repeats; `changes` are its fields."""
    whole = Measurement(
        identity=str(uuid.uuid4()),
        created=START,
        subject=SUBJECT,
        device=PHONE,
        options=replace(OPTIONS, repeats=len(medians)),
        labels={"branch": "main"},
        repeats=tuple(repeat(index, median) for index, median in enumerate(medians)),
        parity=ParityOnDevice("pass", 1e-6),
        peak_memory=12.5,
        profile=(ProfileRow("conv1", "CONV_2D", 1.5),),
        validity="valid",
    )
    return replace(whole, **changes)


def slower(measured: Measurement, factor: float) -> Measurement:
    """Another run of the same, with all samples this much longer."""
    repeats = tuple(
        replace(one, timings=replace(one.timings, samples=tuple(factor * t for t in samples)))
        for one in measured.repeats
        if (samples := one.timings.samples)
    )
    later = measured.created + timedelta(hours=1)
    return replace(measured, identity=str(uuid.uuid4()), created=later, repeats=repeats)


# What Python makes of arguments that are not UTF-8 are lone low surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\udc80\udcff\\"))
numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**31 - 1)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def tuples_of(strategy: st.SearchStrategy[Any], most: int = 4) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=most).map(tuple)


conditions = st.builds(
    Conditions,
    moments,
    thermal_status=maybe(counts),
    temperatures=st.dictionaries(texts, numbers, max_size=3),
    battery_level=maybe(counts),
    battery_temperature=maybe(numbers),
    charging=maybe(st.booleans()),
    screen_on=maybe(st.booleans()),
    clocks=st.dictionaries(counts, st.builds(Clock, maybe(counts), maybe(counts)), max_size=3),
    fixed_performance=maybe(st.booleans()),
)
timings = st.builds(
    Timings,
    load=maybe(numbers),
    compile=maybe(numbers),
    first=maybe(numbers),
    warmup=tuples_of(numbers),
    samples=maybe(tuples_of(numbers)),
    summary=st.dictionaries(texts, numbers, max_size=3),
    delegate=maybe(texts),
    peak_memory=maybe(numbers),
    turns=tuples_of(counts),
)
repeats = st.lists(
    st.builds(Repeat, counts, timings, conditions, conditions, tuples_of(texts)),
    max_size=3,
    unique_by=lambda one: one.index,
).map(lambda some: tuple(sorted(some, key=lambda one: one.index)))
devices = st.builds(
    DeviceInfo,
    texts,
    st.sampled_from(["adb", "host"]),
    texts,
    maybe(texts),
    maybe(texts),
    tuples_of(texts),
    st.booleans(),
)
options = st.builds(
    Options,
    runner=texts,
    backend=texts,
    threads=counts,
    cores=maybe(counts),
    repeats=counts,
    warmup=counts,
    iterations=counts,
    min_seconds=numbers,
    cooldown=numbers,
    max_temperature=maybe(numbers),
    beside=tuples_of(texts),
)
measurements = st.builds(
    Measurement,
    identity=st.uuids().map(str),
    created=moments,
    subject=st.builds(Subject, texts, texts, texts, texts, tuples_of(texts)),
    device=devices,
    options=options,
    labels=st.dictionaries(texts, texts, max_size=3),
    repeats=repeats,
    parity=maybe(
        st.builds(
            ParityOnDevice,
            st.sampled_from(["pass", "fail", "unverified"]),
            maybe(numbers),
            maybe(texts),
        )
    ),
    peak_memory=maybe(numbers),
    profile=tuples_of(st.builds(ProfileRow, texts, texts, numbers, counts)),
    validity=st.sampled_from([None, "valid", "noisy", "invalid"]),
    reasons=tuples_of(texts),
)
