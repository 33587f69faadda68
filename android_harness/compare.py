"""Two measurements side by side: the ratio of their medians, and whether it shows anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from converters.errors import one_line

from .comparability import obstacles
from .records import Measurement
from .stats import Statistics, interval_of, resampled_medians, statistics
from .store import Summary
from .turns import LEAST_PAIRS, mean_ratio, paired, ratios_in_turns

Verdict = Literal["faster", "slower", "no difference shown", "not comparable"]


@dataclass(frozen=True)
class Comparison:
    """B beside A. `ratio` is B's median over A's, with its 95% interval.

    Of files that took turns it is that of pairs of their processes, `in_turns` in number. `reasons`
    say why the two are not comparable, `notes` what to know when reading the ratio.
    """

    a: Measurement
    b: Measurement
    of_a: Statistics
    of_b: Statistics
    verdict: Verdict
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    in_turns: int = 0
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def emulated(self) -> bool:
        return self.a.device.emulated or self.b.device.emulated

    def slower_by(self, limit: float) -> bool:
        """Whether B was shown to be slower, and by more than `limit` (0.03 for 3%)."""
        return self.verdict == "slower" and (self.ratio or 0) > 1 + limit


def compare(a: Measurement, b: Measurement) -> Comparison:
    """The verdict on B as seen from A: its latency is lower (faster) or higher (slower).

    A difference is shown if the 95% interval leaves out 1.
    """
    of_a, of_b = statistics(a), statistics(b)
    if reasons := obstacles(a, b):
        return Comparison(a, b, of_a, of_b, "not comparable", reasons=reasons)
    ratios = paired(ratios_in_turns(a, b))
    in_turns = len(ratios) if len(ratios) >= LEAST_PAIRS else 0
    if in_turns:
        ratio, interval = mean_ratio(ratios)
    else:
        ratio, interval = ratio_of_medians(of_a.medians, of_b.medians)
    verdict: Verdict = "no difference shown"
    if interval[0] > 1:
        verdict = "slower"
    elif interval[1] < 1:
        verdict = "faster"
    notes = tuple(one_line(note) for note in _notes(a, b, in_turns))
    return Comparison(a, b, of_a, of_b, verdict, ratio, interval, in_turns, notes=notes)


def ratio_of_medians(a: Sequence[float], b: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The median of B's repeats over that of A's, with its 95% interval.

    The percentile bootstrap, with the repeats of each side drawn on their own. Iterations are not
    drawn again: repeats that were drawn bring the variation within them along.
    """
    rng = np.random.default_rng(0)  # the same runs give the same interval
    drawn_a, drawn_b = resampled_medians(a, rng), resampled_medians(b, rng)
    return float(np.median(b) / np.median(a)), interval_of(drawn_b / drawn_a)


def _notes(a: Measurement, b: Measurement, in_turns: int) -> Iterator[str]:
    if in_turns:
        yield f"the files took turns: the ratio is that of {in_turns} pairs of processes with both"
    else:
        yield from _noise(a, b)
    mine, theirs = ({repeat.timings.delegate for repeat in one.repeats} for one in (a, b))
    if mine != theirs:
        names = [" and ".join(sorted(name or "none" for name in one)) for one in (mine, theirs)]
        yield f"delegates differ: {names[0]} in A, {names[1]} in B"


def _noise(a: Measurement, b: Measurement) -> Iterator[str]:
    noisy = [(name, one) for name, one in (("A", a), ("B", b)) if one.validity == "noisy"]
    for name, one in noisy:
        yield f"{name} is noisy: {'; '.join(one.reasons)}"
    if noisy:
        yield "a device that drifts looks like a difference; files that take turns show what is one"


@dataclass(frozen=True)
class Pairing:
    """The runs of two selections that belong together (A, B), and what has no partner."""

    pairs: tuple[tuple[Summary, Summary], ...]
    only_a: tuple[Summary, ...] = ()
    only_b: tuple[Summary, ...] = ()


def pair(a: Sequence[Summary], b: Sequence[Summary]) -> Pairing:
    """The newest run of each file, device, backend and cores with that of the other selection.

    One run on each side is a pair whatever it measured, so that two models or two precisions can
    be compared.
    """
    newest_a, newest_b = _newest(a), _newest(b)
    if len(newest_a) == len(newest_b) == 1:
        ((one,), (other,)) = newest_a.values(), newest_b.values()
        return Pairing(((one, other),))
    return Pairing(
        tuple((one, newest_b[what]) for what, one in newest_a.items() if what in newest_b),
        tuple(one for what, one in newest_a.items() if what not in newest_b),
        tuple(one for what, one in newest_b.items() if what not in newest_a),
    )


def _newest(runs: Sequence[Summary]) -> dict[object, Summary]:
    """By what was measured, where, and how; the runs come with the newest first."""
    found: dict[object, Summary] = {}
    for one in runs:
        subject = (one.subject.name, one.subject.target, one.subject.precision)
        how = (one.options.runner, one.options.backend, one.options.threads, one.options.cores)
        found.setdefault((subject, one.device.serial, how), one)
    return found
