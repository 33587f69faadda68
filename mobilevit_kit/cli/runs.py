"""`mvkit runs`: what has been measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .measurements import store_option
from .options import Output, output_options

if TYPE_CHECKING:
    from android_harness.records import Measurement, Repeat
    from android_harness.store import Selector, Store, Summary

_STRIP_WIDTH = 60
_SHOWN_OPERATORS = 10
_MOST_LISTED = 50


@click.command(short_help="Lists, shows or deletes measurements.")
@click.argument("selectors", metavar="[RUN...]", nargs=-1)
@click.option("--show", is_flag=True, help="Show every repeat of the runs.")
@click.option("--delete", is_flag=True, help="Delete the runs for good; asks first.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="List the newest N.  [default: 50; all with --json]",
)
@store_option
@output_options
def runs(
    selectors: tuple[str, ...],
    show: bool,
    delete: bool,
    yes: bool,
    limit: int | None,
    location: str | None,
    output: Output,
) -> None:
    """Lists the newest measurements, or those that RUN names.

    RUN is the start of an id, latest, latest~N, label:KEY=VALUE, label:VALUE, name:, device:,
    target:, precision:, backend: or validity: with a value in which * and ? are wild. Commas
    between several mean that all must hold: label:main,latest is the newest of main.
    """
    from android_harness.store import open_store, parse_selector
    from converters.errors import UsageError

    if show and delete:
        raise UsageError("--show and --delete exclude each other")
    if limit is not None and (show or delete):
        raise UsageError("--limit is for lists; name the runs instead")
    if yes and not delete:
        raise UsageError("--yes is only used with --delete")
    if (show or delete) and not selectors:
        raise UsageError(
            f"{'--show' if show else '--delete'} needs to know which runs", "such as latest"
        )
    parsed = [parse_selector(one) for one in selectors]
    with open_store(location) as store:
        if show:
            _show(store, store.select(parsed), output)
        elif delete:
            _delete(store, store.select(parsed), yes, output)
        else:
            _list(store, parsed, limit, output)


def _list(store: Store, selectors: Sequence[Selector], limit: int | None, output: Output) -> None:
    from .console import print_json, print_line
    from .measurements import print_runs, summary_document

    if output.json:
        print_json([summary_document(one) for one in store.select(selectors, limit=limit)])
        return
    most = limit or _MOST_LISTED
    found = store.select(selectors, limit=most + 1)
    if not output.quiet:
        print_runs(found[:most])
        if len(found) > most:
            print_line("there are older ones; --limit N shows more")


def _show(store: Store, found: Sequence[Summary], output: Output) -> None:
    from android_harness.documents import to_document
    from android_harness.stats import statistics

    from .console import print_json, print_line

    measurements = store.load([one.identity for one in found])
    if output.json:
        print_json(
            [
                {**to_document(one), "statistics": to_document(statistics(one))}
                for one in measurements
            ]
        )
        return
    if output.quiet:
        return
    for count, one in enumerate(measurements):
        if count:
            print_line("")
        _print_measurement(one)


def _print_measurement(one: Measurement) -> None:
    from android_harness.stats import statistics
    from android_harness.strip import axis_line, common_axis, strip, times_to_draw
    from converters.errors import one_line

    from .console import print_line
    from .measurements import (
        device_text,
        how_text,
        labels_text,
        latency_text,
        percent_text,
        subject_text,
    )

    of = statistics(one)
    spread = percent_text(of.spread)
    low, high = (latency_text(end, one.device) for end in of.interval or (None, None))
    facts = [
        ("run", one.identity),
        ("UTC", f"{one.created:%Y-%m-%d %H:%M:%S}"),
        ("file", f"{subject_text(one.subject)}, SHA-256 {one_line(one.subject.sha256, 64)}"),
        ("input", one_line(", ".join(one.subject.inputs)) or "-"),
        ("device", f"{device_text(one.device)}, {one_line(_model(one), 100)}"),
        ("how", f"{one_line(one.options.runner, 40)}, {how_text(one.options)}"),
        ("labels", labels_text(one.labels) or "-"),
        ("validity", one.validity or "unfinished"),
        *(("", one_line(reason, 400)) for reason in one.reasons),
        ("outputs", one.parity.verdict if one.parity else "not checked"),
        ("median", f"{latency_text(of.median, one.device)} ms, 95% interval {low} to {high}"),
        ("p90", f"{latency_text(of.p90, one.device)} ms"),
        ("p99", f"{latency_text(of.p99, one.device)} ms"),
        ("spread", f"{spread} between repeats, IQR {latency_text(of.iqr, one.device)} ms within"),
        ("memory", "-" if one.peak_memory is None else f"{one.peak_memory:.1f} MiB at most"),
    ]
    for label, text in facts:
        print_line(f"{label:<10}{text}")
    _print_repeats(one.repeats)
    if times := times_to_draw(one):
        axis = common_axis([times])
        print_line(f"\n{strip(times, axis, _STRIP_WIDTH)}\n{axis_line(axis, _STRIP_WIDTH)}")
    _print_profile(one)


def _model(one: Measurement) -> str:
    return ", ".join(filter(None, (one.device.model, one.device.soc, one.device.os)))


def _print_repeats(repeats: Sequence[Repeat]) -> None:
    from android_harness.medians import repeat_median
    from converters.errors import one_line

    from .console import plain_table, print_line, print_table

    columns = ("median ms", "samples", "load ms", "compile ms", "first ms", "battery °C")
    table = plain_table("repeat", *columns, "thermal", "delegate", "faults", right=columns)
    for one in repeats:
        timings = one.timings
        table.add_row(
            str(one.index + 1),
            _figure(repeat_median(one)),
            "-" if timings.samples is None else str(len(timings.samples)),
            _figure(timings.load),
            _figure(timings.compile),
            _figure(timings.first),
            _change(one.before.battery_temperature, one.after.battery_temperature),
            _change(one.before.thermal_status, one.after.thermal_status),
            one_line(timings.delegate or "-", 40),
            one_line("; ".join(one.faults), 200),
        )
    print_line("")
    print_table(table)


def _print_profile(one: Measurement) -> None:
    from .console import plain_table, print_line, print_table
    from .measurements import shown

    if not one.profile:
        return
    rows = sorted(one.profile, key=lambda row: row.time, reverse=True)
    table = plain_table("operator", "kind", "ms", "count", right=("ms", "count"))
    for row in rows[:_SHOWN_OPERATORS]:
        table.add_row(shown(row.name), shown(row.kind), _figure(row.time), str(row.count))
    print_line("")
    print_table(table)
    if len(rows) > _SHOWN_OPERATORS:
        print_line(f"and {len(rows) - _SHOWN_OPERATORS} more; --json shows all")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _change(before: float | None, after: float | None) -> str:
    return "-" if before is None and after is None else f"{_figure(before)} to {_figure(after)}"


def _delete(store: Store, found: Sequence[Summary], yes: bool, output: Output) -> None:
    from .console import print_json, print_line
    from .measurements import print_runs

    if not yes:
        if output.json:
            from converters.errors import UsageError

            raise UsageError("--delete with --json needs --yes")
        print_runs(found)
        click.confirm(f"Delete {len(found)} of them for good?", abort=True, err=True)
    identities = [one.identity for one in found]
    store.delete(identities)
    if output.json:
        print_json({"deleted": identities})
    elif not output.quiet:
        print_line(f"deleted {len(identities)}")
