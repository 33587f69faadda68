"""Medians of repeats and how far they spread: what a list of runs shows.

Without NumPy: a list of 4,000 runs has each of these once, and its calls take longer than the sums
of five numbers, as its import does than a short list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .records import Repeat


def repeat_median(repeat: Repeat) -> float | None:
    """The median of a repeat (ms), or the one that its tool printed."""
    if has_samples(repeat):
        return middle(repeat.timings.samples or ())
    return repeat.timings.summary.get("median")


def has_samples(repeat: Repeat) -> bool:
    return bool(repeat.timings.samples)


def known(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(value for value in values if value is not None)


def middle(values: Sequence[float]) -> float | None:
    """The median, if there are values."""
    if not values:
        return None
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def relative_spread(medians: Sequence[float]) -> float | None:
    """The standard deviation of repeats' medians relative to their mean; of two or more."""
    if len(medians) < 2:
        return None
    mean = sum(medians) / len(medians)
    deviation = math.hypot(*(one - mean for one in medians)) / math.sqrt(len(medians) - 1)
    return deviation / mean if mean else math.nan  # times that are none are told elsewhere
