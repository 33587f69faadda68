"""What the verbs that show measurements share: the option --store, and runs as text.

Serials, labels and names come from devices and users: they are shown as one line with nothing that
moves a cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.text import Text

    from android_harness.records import DeviceInfo, Options, Subject
    from android_harness.store import Summary

SHORT_ID = 8
_LONGEST = 40  # characters of foreign text in a table
_STYLES = {"valid": "green", "noisy": "yellow", "invalid": "bold red"}


def store_option(verb: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--store",
        "location",
        metavar="FILE|URL",
        envvar="MVKIT_STORE",
        help="A file, or postgresql://USER@HOST/DATABASE.  [default: $MVKIT_STORE, else the "
        "user's own]",
    )(verb)


def shown(text: str) -> str:
    from converters.errors import one_line

    return one_line(text, _LONGEST)


def subject_text(subject: Subject) -> str:
    return f"{shown(subject.name)} {shown(subject.target)} {shown(subject.precision)}"


def device_text(device: DeviceInfo) -> str:
    """The serial, marked where its latency means nothing."""
    return shown(device.serial) + (" (emulated)" if device.emulated else "")


def how_text(options: Options) -> str:
    threads = "1 thread" if options.threads == 1 else f"{options.threads} threads"
    cores = "" if options.cores is None else f", cores {options.cores:#x}"
    turns = f", in turns of {len(options.beside)}" if options.beside else ""
    return f"{shown(options.backend)}, {threads}{cores}{turns}"


def labels_text(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{shown(key)}={shown(value)}" for key, value in sorted(labels.items()))


def latency_text(time: float | None, device: DeviceInfo) -> str:
    """A time in ms; an emulated device's never without that word."""
    if time is None:
        return "-"
    return f"{time:.4g}" + (" emulated" if device.emulated else "")


def validity_text(validity: str | None) -> Text:
    from rich.text import Text

    return Text(validity or "unfinished", _STYLES.get(validity or "", "dim"))


def percent_text(part: float | None) -> str:
    return "-" if part is None else f"{part:.1%}"


def summary_document(run: Summary) -> dict[str, Any]:
    """A run without its samples, for JSON; times in ms."""
    from android_harness.documents import to_document
    from android_harness.medians import known, middle, relative_spread

    medians = known(run.medians)
    return {
        "id": run.identity,
        "created": run.created.isoformat(),
        "subject": to_document(run.subject),
        "device": to_document(run.device),
        "emulated": run.device.emulated,
        "options": to_document(run.options),
        "labels": dict(run.labels),
        "repeats": len(run.medians),
        "median": middle(medians),
        "spread": relative_spread(medians),
        "validity": run.validity,
        "reasons": list(run.reasons),
    }


def print_runs(found: Sequence[Summary]) -> None:
    """A table, a row a run."""
    from android_harness.medians import known, middle, relative_spread

    from .console import plain_table, print_line, print_table

    if not found:
        print_line("nothing has been measured yet")
        return
    table = plain_table(
        "run", "UTC", "file", "device", "how", "median ms", "spread", "validity", "labels",
        right=("median ms", "spread"),
    )  # fmt: skip
    for one in found:
        medians = known(one.medians)
        table.add_row(
            one.identity[:SHORT_ID],
            f"{one.created:%Y-%m-%d %H:%M}",
            subject_text(one.subject),
            device_text(one.device),
            how_text(one.options),
            latency_text(middle(medians), one.device),
            percent_text(relative_spread(medians)),
            validity_text(one.validity),
            labels_text(one.labels),
        )
    print_table(table)
