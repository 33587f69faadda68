"""`mvkit compare`: whether one measurement is faster than another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .measurements import store_option
from .options import Output, output_options

if TYPE_CHECKING:
    from android_harness.compare import Comparison, Pairing

_STRIP_WIDTH = 60
_STYLES = {"faster": "green", "slower": "bold red"}


class Percentage(click.ParamType[float]):
    """A number and a percent sign, as a part of 1."""

    name = "percentage"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> float:
        found = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]{1,6})?) ?%", str(value), re.ASCII)
        if found is None:
            self.fail(f"{value!r} is not a percentage such as 3%", parameter, context)
        return float(found[1]) / 100


@click.command(short_help="Compares measurements.")
@click.argument("a")
@click.argument("b")
@click.option(
    "--fail-if-slower",
    "limit",
    metavar="PERCENT",
    type=Percentage(),
    help="Exit with 1 if B is shown to be slower, and by more than this.",
)
@click.option(
    "--plot",
    metavar="FILE.svg",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the samples of every repeat.",
)
@store_option
@output_options
def compare(
    a: str, b: str, limit: float | None, plot: Path | None, location: str | None, output: Output
) -> int:
    """Says whether B is faster or slower than A, as far as their repeats show it.

    A and B name runs as for `mvkit runs`. Where they name several, the newest of each file, device
    and backend are compared. With --fail-if-slower exits with 2 if something could not be compared.
    """
    from android_harness.compare import compare as compare_measurements
    from android_harness.compare import pair
    from android_harness.store import open_store, parse_selector
    from converters.errors import UsageError

    selectors = parse_selector(a), parse_selector(b)
    with open_store(location) as store:
        found = pair(*(store.select([one], finished=True) for one in selectors))
        if not found.pairs:
            raise UsageError(
                f"no run of '{selectors[0].shown}' has a partner among '{selectors[1].shown}'",
                "a partner has the same file name, device and backend",
            )
        comparisons = [
            compare_measurements(*store.load([one.identity, other.identity]))
            for one, other in found.pairs
        ]
    if plot is not None:
        from android_harness.plot import write_plot

        write_plot(comparisons, plot)
    if output.json:
        _print_json(comparisons, found)
    elif not output.quiet:
        _print(comparisons, found, limit)
    return 0 if limit is None else _exit_code(comparisons, limit)


def _exit_code(comparisons: Sequence[Comparison], limit: float) -> int:
    if any(one.slower_by(limit) for one in comparisons):
        return 1
    return 2 if any(one.verdict == "not comparable" for one in comparisons) else 0


def comparison_document(one: Comparison) -> dict[str, Any]:
    """What it says, for JSON."""
    return {
        "emulated": one.emulated,
        "verdict": one.verdict,
        "ratio": one.ratio,
        "interval": one.interval,
        "in_turns": one.in_turns,
        "reasons": one.reasons,
        "notes": one.notes,
    }


def _print_json(comparisons: Sequence[Comparison], found: Pairing) -> None:
    from dataclasses import asdict

    from .console import print_json
    from .measurements import summary_document

    print_json(
        {
            "comparisons": [
                {
                    "a": {**summary_document(a), "statistics": asdict(one.of_a)},
                    "b": {**summary_document(b), "statistics": asdict(one.of_b)},
                    **comparison_document(one),
                }
                for one, (a, b) in zip(comparisons, found.pairs, strict=True)
            ],
            "only_a": [one.identity for one in found.only_a],
            "only_b": [one.identity for one in found.only_b],
        }
    )


def _print(comparisons: Sequence[Comparison], found: Pairing, limit: float | None) -> None:
    from .console import print_line
    from .measurements import SHORT_ID, device_text, subject_text

    for one in comparisons:
        print_comparison(one)
    for name, alone in (("A", found.only_a), ("B", found.only_b)):
        for run in alone:
            what = f"{subject_text(run.subject)} on {device_text(run.device)}"
            print_line(f"only in {name}  {run.identity[:SHORT_ID]}  {what}")
    if limit is not None:
        slower = sum(one.slower_by(limit) for one in comparisons)
        print_line(f"{slower} of {len(comparisons)} slower by more than {100 * limit:g}%")


def print_comparison(one: Comparison) -> None:
    """Both runs, their samples on one axis, and the verdict."""
    from rich.text import Text

    from android_harness.strip import axis_line, common_axis, strip, times_to_draw

    from .console import plain_table, print_line, print_table
    from .measurements import (
        SHORT_ID,
        device_text,
        how_text,
        latency_text,
        percent_text,
        subject_text,
    )

    figures = ("median ms", "95% interval", "p90", "p99", "spread")
    table = plain_table("", "run", "file", "device", "how", *figures, right=figures)
    for name, run, of in (("A", one.a, one.of_a), ("B", one.b, one.of_b)):
        table.add_row(
            name,
            run.identity[:SHORT_ID],
            subject_text(run.subject),
            device_text(run.device),
            how_text(run.options),
            latency_text(of.median, run.device),
            "-" if of.interval is None else f"{of.interval[0]:.4g} to {of.interval[1]:.4g}",
            latency_text(of.p90, run.device),
            latency_text(of.p99, run.device),
            percent_text(of.spread),
        )
    print_table(table)
    times = [times_to_draw(run) for run in (one.a, one.b)]
    if all(times):
        axis = common_axis(times)
        print_line("")
        for name, own in zip("AB", times, strict=True):
            print_line(f"{name}  {strip(own, axis, _STRIP_WIDTH)}")
        print_line(f"   {axis_line(axis, _STRIP_WIDTH)}")
    verdict = Text(one.verdict, _STYLES.get(one.verdict, "yellow"))
    if one.ratio is not None and one.interval is not None:
        low, high = one.interval
        verdict += f": B takes {one.ratio:.3f} times as long as A, 95% interval "
        verdict += f"{low:.3f} to {high:.3f}" + (" (emulated)" if one.emulated else "")
    print_line("")
    print_line(verdict)
    for reason in (*one.reasons, *one.notes):
        print_line(f"  {reason}")
    print_line("")
