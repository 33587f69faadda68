"""Samples as a line of characters: how often each time was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .medians import known, repeat_median
from .records import Measurement

_BLOCKS = " ▁▂▃▄▅▆▇█"


def times_to_draw(measurement: Measurement) -> tuple[float, ...]:
    """All samples (ms), or the repeats' medians where the tool gave no samples."""
    samples = tuple(t for one in measurement.repeats for t in one.timings.samples or ())
    return samples or known([repeat_median(one) for one in measurement.repeats])


def common_axis(sets: Sequence[Sequence[float]]) -> tuple[float, float]:
    """From the smallest time to the largest 99th percentile: a lone outlier squeezes nothing."""
    low = min(min(one) for one in sets)
    high = max(float(np.percentile(one, 99)) for one in sets)
    return low, high if high > low else low * 1.01


def strip(times: Sequence[float], axis: tuple[float, float], width: int) -> str:
    """A histogram in one line; its last character counts what lies beyond the axis too."""
    low, high = axis
    places = (np.asarray(times) - low) / (high - low) * width
    counts = np.bincount(np.clip(places.astype(int), 0, width - 1), minlength=width)
    heights = np.ceil(counts / counts.max() * (len(_BLOCKS) - 1)).astype(int)
    return "".join(_BLOCKS[height] for height in heights)


def axis_line(axis: tuple[float, float], width: int) -> str:
    """The ends of the axis, in as many characters as the strip has."""
    low, high = (f"{end:.3g} ms" for end in axis)
    return low + high.rjust(width - len(low))
