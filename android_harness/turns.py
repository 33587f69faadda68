"""Files that take turns in the same processes: which can, and what they say of each other.

A device that warms up, or a neighbour on it, changes its speed within tenths of a second, much more
than two files may differ. Turns are shorter than that, so a ratio is taken round by round: of each
round that of the medians of both turns, of a process the median over its rounds.

What is loaded second may lie worse in memory, by up to a tenth and for many processes in a row. So
every other repeat loads the files the other way round, and two repeats that follow each other are
one ratio, their geometric mean. The figure is that of all pairs, with Student's interval of their
logarithms: five are too few for a bootstrap, since luck puts all of them on one side of 1 in 1 of
16 trials.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from converters.errors import UsageError, one_line

from .medians import middle
from .records import Measurement, Timings
from .runners.base import RunnerInTurns
from .stats import CONFIDENCE

if TYPE_CHECKING:
    from .measure import Request

# Ratios of single rounds spread by a tenth on a virtual machine: of 150 rounds of 20 ms the median
# spreads by 1%.
MIN_SECONDS_IN_TURNS = 3.0
REPEATS_IN_TURNS = 10  # five pairs
LEAST_PAIRS = 3


def check_turns(requests: Sequence[Request]) -> None:
    """Raises UsageError for files that cannot take turns: one process has to hold them all."""
    names = [one_line(one.artifact.path) for one in requests]
    if len(requests) < 2:
        raise UsageError(f"--interleave: {names[0]} is alone", "name the files that take turns")
    runner = requests[0].runner
    if not isinstance(runner, RunnerInTurns):
        raise UsageError(
            f"--interleave: {runner.name} holds one file at a time",
            "leave it out, or measure with --runner mvkit",
        )
    first: dict[str, str] = {}
    for name, one in zip(names, requests, strict=True):
        if one.runner != runner or one.options != requests[0].options:
            raise UsageError(
                f"--interleave: {names[0]} and {name} need different runners",
                "a process holds files of one target and backend",
            )
        same = first.setdefault(one.subject.sha256, name)
        if same is not name:
            raise UsageError(f"--interleave: {same} and {name} hold the same bytes")


def ratios_in_turns(a: Measurement, b: Measurement) -> dict[int, float]:
    """B's time over A's, of each repeat in which both were in one process; by its index."""
    if a.device.serial != b.device.serial or not a.options.beside:
        return {}
    theirs = {one.index: one for one in b.repeats}
    found = {}
    for mine in a.repeats:
        other = theirs.get(mine.index)
        if other is not None and (mine.before, mine.after) == (other.before, other.after):
            ratio = ratio_within(mine.timings, other.timings)
            if ratio is not None:
                found[mine.index] = ratio
    return found


def paired(ratios: Mapping[int, float]) -> tuple[float, ...]:
    """Of each pair of repeats that follow each other, one in each order: their geometric mean."""
    return tuple(
        math.sqrt(ratio * ratios[index + 1])
        for index, ratio in sorted(ratios.items())
        if index % 2 == 0 and index + 1 in ratios
    )


def mean_ratio(ratios: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The geometric mean of two ratios or more, with its 95% interval."""
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    logarithms = [math.log(one) for one in ratios]
    count = len(logarithms)
    mean = math.fsum(logarithms) / count
    deviation = math.hypot(*(one - mean for one in logarithms)) / math.sqrt(count - 1)
    reach = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(count)
    return math.exp(mean), (math.exp(mean - reach), math.exp(mean + reach))


def ratio_within(a: Timings, b: Timings) -> float | None:
    """B's time over A's in one process: the median over rounds that both have.

    A very quick file may have its fill of samples before the last of them.
    """
    return middle([theirs / mine for mine, theirs in zip(_turns(a), _turns(b), strict=False)])


def _turns(timings: Timings) -> Iterator[float]:
    """The median of each turn (ms)."""
    samples = iter(timings.samples or ())
    for count in timings.turns:
        median = middle(list(itertools.islice(samples, count)))
        assert median is not None  # a turn has samples
        yield median
