"""How often `compare` errs, with the noise of this machine and with distributions of other shapes.

A network is measured in many fresh processes of the native runner, one after another, with the
options that `mvkit bench` has by default. How much their medians differ is the noise. Trials then
draw two sets of repeats and compare them: a false alarm is a difference shown between two sets of
one distribution, a find is a slowdown of 5% that is shown.

"as measured" draws the medians with replacement, each on its own: the noise without the order in
which it came. "as measured, in order" takes repeats that followed each other, from two stretches
that do not overlap, as two commands at different times are: a machine that slows down for minutes
raises its false alarms, and no number of repeats of one command helps against that.

What does is `--interleave`. For "in turns" the file takes turns with itself in as many processes,
every other of which has it loaded the other way round, and trials draw five pairs of processes:
each on its own, or neighbours. Here the spread is that of the pairs' ratios.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from android_harness.building import build_bundle
from android_harness.compare import ratio_of_medians
from android_harness.medians import relative_spread
from android_harness.records import Options
from android_harness.turns import (
    MIN_SECONDS_IN_TURNS,
    REPEATS_IN_TURNS,
    mean_ratio,
    paired,
    ratio_within,
)
from benchmarks.latency import a_photo, our_file

from .native import native_samples, native_turns
from .part import Effort, Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL = "efficientvit_m0"
SLOWDOWN = 1.05
METHOD = (
    "{trials} trials a figure, in percent; false alarms with their 95% interval; goals: at most 5% "
    "false alarms, a slowdown of 5% found in at least 95%, with the repeats that are the default"
)
PAIRS = REPEATS_IN_TURNS // 2

# Draws the medians of so many repeats of A, then of B, relative to the true latency.
Sets = tuple["NDArray[np.float64]", "NDArray[np.float64]"]
Draw = Callable[[np.random.Generator, int, int], Sets]


def measure(effort: Effort) -> Part:
    noise = measured_noise(effort)
    rows = [
        *turn_rows(noise["ratios_in_turns"], effort.trials),
        *trial_rows(noise["medians_ms"], effort.trials),
    ]
    return Part(METHOD.format(trials=effort.trials), rows, {"noise": noise})


def measured_noise(effort: Effort) -> dict[str, Any]:
    file = our_file(MODEL, "tflite", effort.cache).resolve()
    bundle = build_bundle("tflite", "host")
    in_turns = Options(min_seconds=MIN_SECONDS_IN_TURNS)
    medians, ratios = [], []
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.bin")
        a_photo(MODEL).tofile(photo)
        for index in range(effort.processes):
            samples = native_samples(bundle, file, photo, Options())
            medians.append(float(np.median(samples)))
            ratio = ratio_within(*native_turns(bundle, [file, file], photo, in_turns))
            assert ratio is not None
            ratios.append(1 / ratio if index % 2 else ratio)  # which is loaded first alternates
            which = f"{index + 1} of {effort.processes}"
            print(f"{which}: {medians[-1]:.2f} ms, in turns {ratios[-1]:.3f}", file=sys.stderr)
    return {
        "file": file.name,
        "options": "as `mvkit bench` has them by default",
        "medians_ms": medians,
        "spread": relative_spread(medians),
        "ratios_in_turns": ratios,
        "spread_in_turns": relative_spread(ratios),
        "load_average": [round(one, 2) for one in (before, os.getloadavg()[0])],
    }


def turn_rows(ratios: Sequence[float], trials: int) -> Iterator[dict[str, Any]]:
    """The rows of files that take turns."""
    pairs = np.asarray(paired(dict(enumerate(ratios))))

    def alone(rng: np.random.Generator) -> NDArray[np.float64]:
        return rng.choice(pairs, PAIRS)

    def neighbours(rng: np.random.Generator) -> NDArray[np.float64]:
        first = rng.integers(len(pairs) - PAIRS + 1)
        # The file beside itself: which of the two is called the second is a matter of luck.
        return pairs[first : first + PAIRS] ** rng.choice([-1, 1])

    for name, draw in (("in turns, as measured", alone), ("in turns, in order", neighbours)):
        alarms = shown_in_turns(draw, 1.0, trials)
        found = shown_in_turns(draw, SLOWDOWN, trials)
        spread = relative_spread(pairs.tolist()) or 0.0
        yield _row(name, spread, f"{REPEATS_IN_TURNS} of both", alarms, found, trials)


def shown_in_turns(
    draw: Callable[[np.random.Generator], NDArray[np.float64]], factor: float, trials: int
) -> int:
    """As `shown`, of ratios."""
    rng = np.random.default_rng(0)
    intervals = [mean_ratio([*(factor * draw(rng))])[1] for _ in range(trials)]
    return sum(low > 1 or (high < 1 and factor == 1) for low, high in intervals)


def trial_rows(medians: Sequence[float], trials: int) -> Iterator[dict[str, Any]]:
    """The rows of the table, the machine's own noise first."""
    measured = np.asarray(medians) / np.median(medians)
    spread = relative_spread(medians) or 0.0
    five = ((5, 5),)
    five_or_ten, few = (*five, (5, 10), (10, 10)), ((3, 3), (4, 4))
    draws: dict[str, tuple[Draw, float, tuple[tuple[int, int], ...]]] = {
        "as measured": (_independent(lambda rng, n: rng.choice(measured, n)), spread, five_or_ten),
        "as measured, in order": (in_order(measured), spread, five),
        "normal": (_factors(lambda rng, n: rng.normal(0, 0.015, n)), 0.015, (*few, *five_or_ten)),
        "normal, wider": (_factors(lambda rng, n: rng.normal(0, 0.03, n)), 0.03, five),
        "heavy tails (t, 3)": (_factors(_heavy), 0.015, five),
        "skewed (exponential)": (_factors(_skewed), 0.015, five),
        "two modes": (_factors(_two_modes), 0.015, five),
    }
    for name, (draw, standard_deviation, sizes) in draws.items():
        for of_a, of_b in sizes:
            alarms = shown(draw, of_a, of_b, 1.0, trials)
            found = shown(draw, of_a, of_b, SLOWDOWN, trials)
            yield _row(name, standard_deviation, f"{of_a} and {of_b}", alarms, found, trials)


def _row(
    noise: str, spread: float, repeats: str, alarms: int, found: int, trials: int
) -> dict[str, Any]:
    low, high = proportion_interval(alarms, trials)
    return {
        "noise": noise,
        "spread": 100 * spread,
        "repeats": repeats,
        "false_alarms": 100 * alarms / trials,
        "lowest": 100 * low,
        "highest": 100 * high,
        "found": 100 * found / trials,
    }


def shown(draw: Draw, of_a: int, of_b: int, factor: float, trials: int) -> int:
    """How often a difference is shown; with a slowdown, the slowdown alone."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(trials):
        a, b = draw(rng, of_a, of_b)
        _, (low, high) = ratio_of_medians([*a], [*(factor * b)])
        found += low > 1 or (high < 1 and factor == 1)
    return found


def proportion_interval(count: int, trials: int) -> tuple[float, float]:
    """Wilson's 95% interval."""
    interval = stats.binomtest(count, trials).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def in_order(measured: NDArray[np.float64]) -> Draw:
    """Two stretches of the series, each of neighbours, that do not overlap."""

    def draw(rng: np.random.Generator, of_a: int, of_b: int) -> Sets:
        free = len(measured) - of_a - of_b
        first, second = sorted(rng.integers(free + 1, size=2))
        b_was_first = bool(rng.integers(2))
        size = of_b if b_was_first else of_a
        early = measured[first : first + size]
        late = measured[second + size : second + of_a + of_b]
        return (late, early) if b_was_first else (early, late)

    return draw


def _independent(draw: Callable[[np.random.Generator, int], NDArray[np.float64]]) -> Draw:
    return lambda rng, of_a, of_b: (draw(rng, of_a), draw(rng, of_b))


def _factors(draw: Callable[[np.random.Generator, int], NDArray[np.float64]]) -> Draw:
    """From a distribution of logarithms."""
    return _independent(lambda rng, n: np.exp(draw(rng, n)))


def _heavy(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return 0.015 * rng.standard_t(3, n) / np.sqrt(3)


def _skewed(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return 0.015 * rng.exponential(1, n)


def _two_modes(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return 0.0147 * rng.choice([-1, 1], n) + rng.normal(0, 0.003, n)
