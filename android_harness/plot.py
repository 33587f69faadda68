"""Comparisons as one SVG picture: a strip of samples for each repeat, A above B."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.errors import UsageError, one_line

from .compare import Comparison
from .files import written_whole
from .medians import repeat_median
from .records import Measurement, Repeat
from .stats import Statistics
from .strip import common_axis, times_to_draw

# Pixels.
_LEFT, _WIDTH = 90.0, 760.0
_ROW = 16.0
_HEADER, _FOOTER, _GAP = 66.0, 54.0, 10.0
_MOST_MARKS = 400  # of a repeat's samples; more would only be ink on ink
_TICKS = 6  # about as many


@dataclass(frozen=True)
class _Row:
    """A repeat: where its samples and its median lie."""

    label: str
    y: float
    marks: tuple[float, ...]
    median: float | None


@dataclass(frozen=True)
class _Side:
    name: str  # "A" or "B"
    title: str
    emulated: bool
    top: float
    bottom: float
    rows: tuple[_Row, ...]
    median: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class _Panel:
    top: float
    verdict: str
    sides: tuple[_Side, ...]
    ticks: tuple[tuple[float, str], ...]
    bottom: float  # of the strips


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float

    def x(self, time: float) -> float:
        """Pixels; what lies beyond the axis is drawn at its end."""
        part = (time - self.low) / (self.high - self.low)
        return round(_LEFT + _WIDTH * min(max(part, 0.0), 1.0), 1)


def write_plot(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draws what there are times of. Raises UsageError for another suffix than .svg."""
    if path.suffix.lower() != ".svg":
        raise UsageError(f"{one_line(path)}: the picture's name must end in .svg")
    picture = render_plot(comparisons)
    with written_whole(path) as unfinished:
        unfinished.write_text(picture, encoding="utf-8")


def render_plot(comparisons: Sequence[Comparison]) -> str:
    """The picture's text."""
    import jinja2

    panels, top = [], 0.0
    for one in comparisons:
        if times_to_draw(one.a) and times_to_draw(one.b):
            panels.append(_panel(one, top))
            top = panels[-1].bottom + _FOOTER
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return templates.get_template("comparison.svg").render(
        panels=panels, left=_LEFT, width=_WIDTH, row=_ROW, height=max(top, _ROW)
    )


def _panel(comparison: Comparison, top: float) -> _Panel:
    scale = _Scale(*common_axis([times_to_draw(comparison.a), times_to_draw(comparison.b)]))
    y = top + _HEADER
    sides = []
    for name, one, of in (
        ("A", comparison.a, comparison.of_a),
        ("B", comparison.b, comparison.of_b),
    ):
        sides.append(_side(name, one, of, y, scale))
        y = sides[-1].bottom + _GAP
    return _Panel(
        top=top,
        verdict=_verdict(comparison),
        sides=tuple(sides),
        ticks=tuple((scale.x(tick), f"{tick:.6g}") for tick in _ticks(scale)),
        bottom=y,
    )


def _side(name: str, run: Measurement, of: Statistics, top: float, scale: _Scale) -> _Side:
    rows = tuple(
        _Row(f"{name} {one.index}", top + _ROW * i, _marks(one, scale), _median(one, scale))
        for i, one in enumerate(run.repeats)
    )
    what = f"{run.subject.name} {run.subject.target} {run.subject.precision}"
    return _Side(
        name=name,
        title=one_line(f"{name}: {run.identity[:8]}, {what}, on {run.device.serial}", 120),
        emulated=run.device.emulated,
        top=top,
        bottom=top + _ROW * len(rows),
        rows=rows,
        median=None if of.median is None else scale.x(of.median),
        interval=None
        if of.interval is None
        else (scale.x(of.interval[0]), scale.x(of.interval[1])),
    )


def _marks(repeat: Repeat, scale: _Scale) -> tuple[float, ...]:
    samples = np.sort(np.asarray(repeat.timings.samples or ()))
    if len(samples) > _MOST_MARKS:
        samples = samples[np.linspace(0, len(samples) - 1, _MOST_MARKS).round().astype(int)]
    return tuple(dict.fromkeys(scale.x(time) for time in samples.tolist()))


def _median(repeat: Repeat, scale: _Scale) -> float | None:
    median = repeat_median(repeat)
    return None if median is None else scale.x(median)


def _ticks(scale: _Scale) -> list[float]:
    """Round numbers along the axis."""
    rough = (scale.high - scale.low) / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(scale.low / step), math.floor(scale.high / step)
    return [index * step for index in range(first, last + 1)]


def _verdict(one: Comparison) -> str:
    if one.ratio is None or one.interval is None:
        return one_line(f"not comparable: {'; '.join(one.reasons)}", 130)
    low, high = one.interval
    return f"B/A {one.ratio:.3f} (95% interval {low:.3f} to {high:.3f}): {one.verdict}"
