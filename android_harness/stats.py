"""What a measurement's samples say, and whether they may be believed.

A repeat is a process of its own; where memory came to lie, which cores it got and how warm the
device was last for all of its iterations. So the repeats are what varies, not the iterations
(Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013): a measurement's figure
is the median of its repeats' medians, and intervals come from drawing repeats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.errors import one_line

from .medians import has_samples, known, middle, relative_spread, repeat_median
from .records import Conditions, Measurement, Repeat, Validity

CONFIDENCE = 0.95
# Standard deviation of the repeats' medians, relative to their mean. Up to it five repeats on each
# side show a slowdown of 5% (docs/harness.md).
SPREAD_BOUND = 0.015
_RESAMPLES = 9999
_LEAST_FOR_P90 = 10  # samples: with fewer it would be the largest of them
_LEAST_FOR_P99 = 100
_CLOCK_TOLERANCE = 0.01  # kernels round frequencies to steps that they have
# The time limit of a runner's loop counts what lies between two iterations, the samples do not.
_SHORTEST = 0.9


@dataclass(frozen=True)
class Statistics:
    """Latency in ms. None is what the tool's output does not tell.

    `interval` is the 95% bootstrap interval of `median`, `iqr` the median of the repeats'
    interquartile ranges, `spread` the standard deviation of the repeats' medians relative to
    their mean; `p90` and `p99` are of all samples together.
    """

    medians: tuple[float, ...]
    samples: int | None
    median: float | None
    interval: tuple[float, float] | None
    p90: float | None
    p99: float | None
    iqr: float | None
    spread: float | None


def statistics(measurement: Measurement) -> Statistics:
    """Of all repeats that it has so far."""
    medians = known([repeat_median(one) for one in measurement.repeats])
    by_repeat = [np.asarray(one.timings.samples) for one in measurement.repeats if has_samples(one)]
    complete = by_repeat and len(by_repeat) == len(measurement.repeats)
    together = np.concatenate(by_repeat) if complete else np.empty(0)
    return Statistics(
        medians=medians,
        samples=len(together) if complete else None,
        median=middle(medians),
        interval=median_interval(medians),
        p90=_percentile(together, 90, _LEAST_FOR_P90),
        p99=_percentile(together, 99, _LEAST_FOR_P99),
        iqr=middle([float(np.subtract(*np.percentile(one, [75, 25]))) for one in by_repeat])
        if complete
        else None,
        spread=relative_spread(medians),
    )


def median_interval(medians: Sequence[float]) -> tuple[float, float] | None:
    """The 95% percentile bootstrap interval of the median of repeats' medians; of two or more."""
    if len(medians) < 2:
        return None
    return interval_of(resampled_medians(medians, np.random.default_rng(0)))


def resampled_medians(medians: Sequence[float], rng: np.random.Generator) -> NDArray[np.float64]:
    """Medians of as many repeats, drawn with replacement (Efron, "Bootstrap Methods", 1979).

    Written out, since scipy.stats alone takes longer to import than a comparison may last; the
    tests compare with it.
    """
    values = np.asarray(medians)
    drawn = values[rng.integers(len(values), size=(_RESAMPLES, len(values)))]
    result: NDArray[np.float64] = np.median(drawn, axis=1)
    return result


def interval_of(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """The 95% that lie in the middle."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return float(low), float(high)


def _percentile(samples: NDArray[np.float64], percent: float, least: int) -> float | None:
    return float(np.percentile(samples, percent)) if len(samples) >= least else None


def assess(measurement: Measurement) -> tuple[Validity | None, tuple[str, ...]]:
    """The verdict and its reasons; None while repeats are missing that could still make it valid.

    Invalid: not the speed of this file on this device left to itself. Noisy: it may be, but the
    repeats do not agree. A valid one has reasons only where a check could not be made.
    """
    wrong = measurement.parity is not None and measurement.parity.verdict == "fail"
    if len(measurement.repeats) < measurement.options.repeats and not wrong:
        return None, ()
    if reasons := tuple(_invalid(measurement)):
        return "invalid", reasons
    unchecked = tuple(_unchecked(measurement))
    if reasons := tuple(_noisy(measurement)):
        return "noisy", (*reasons, *unchecked)
    return "valid", unchecked


def _invalid(measurement: Measurement) -> Iterator[str]:
    parity = measurement.parity
    if parity is not None and parity.verdict == "fail":
        yield "parity on the device failed" + (f": {parity.reason}" if parity.reason else "")
    first = measurement.repeats[0].before if measurement.repeats else None
    for one in measurement.repeats:
        for reason in _invalid_repeat(one, measurement, first):
            yield f"repeat {one.index + 1}: {one_line(reason)}"


def _invalid_repeat(
    repeat: Repeat, measurement: Measurement, first: Conditions | None
) -> Iterator[str]:
    yield from repeat.faults
    samples = repeat.timings.samples
    if samples is not None:
        options = measurement.options
        if not all(math.isfinite(one) and one > 0 for one in samples):
            yield "it has times that are none"
        elif len(samples) < options.iterations:
            yield f"too short: {len(samples)} of {options.iterations} iterations"
        elif (seconds := sum(samples) / 1e3) < _SHORTEST * options.min_seconds:
            yield f"too short: {seconds:.2g} of {options.min_seconds:g} s"
    if repeat_median(repeat) is None:
        yield "no median: the tool printed neither samples nor one"
    status = max(repeat.before.thermal_status or 0, repeat.after.thermal_status or 0)
    if status:
        yield f"throttled: thermal status {status}"
    for core, before, after in lowered_clocks(first, repeat.after):
        yield f"throttled: core {core} was allowed {before} MHz at first, then {after} MHz"
        break  # a cluster's cores share their clock


def lowered_clocks(before: Conditions | None, after: Conditions) -> Iterator[tuple[int, int, int]]:
    """Cores that may run less fast than before: core, MHz before, MHz after."""
    for core, clock in after.clocks.items():
        earlier = before.clocks.get(core) if before else None
        if earlier is None or earlier.allowed is None or clock.allowed is None:
            continue
        if clock.allowed < (1 - _CLOCK_TOLERANCE) * earlier.allowed:
            yield core, earlier.allowed // 1000, clock.allowed // 1000


def _noisy(measurement: Measurement) -> Iterator[str]:
    spread = relative_spread(known([repeat_median(one) for one in measurement.repeats]))
    if spread is None:
        yield "a single repeat does not show how much repeats differ"
    elif spread > SPREAD_BOUND:
        yield f"the repeats' medians spread by {spread:.1%}, more than {SPREAD_BOUND:.1%}"


def _unchecked(measurement: Measurement) -> Iterator[str]:
    parity = measurement.parity
    if parity is None:
        yield "outputs on the device were not checked"
    elif parity.verdict == "unverified":
        why = f": {parity.reason}" if parity.reason else ""
        yield f"outputs on the device could not be checked{why}"
