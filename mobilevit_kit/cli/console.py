"""Printing: tables on standard output, progress on standard error, JSON instead of either."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from converters.manifest import HostLatency, ParityRecord

_STYLES = {"pass": "green", "fail": "bold red", "unverified": "yellow", "error": "bold red"}
_MOST_INDENTED = 100


def print_json(document: Any) -> None:
    """Prints a document for people, too; of a list that nobody reads each element is a line."""
    if isinstance(document, list) and len(document) > _MOST_INDENTED:
        # Python's encoder is several times faster where it need not indent.
        lines = ",\n".join(map(json.dumps, document))
        click.echo(f"[\n{lines}\n]")
    else:
        click.echo(json.dumps(document, indent=2))


def print_table(table: Table) -> None:
    """Prints a table; without a terminal at its natural width, so that no cell is cut."""
    console = _console()
    if not console.is_terminal:
        console.width = 1000
    console.print(table)


def print_line(text: str | Text) -> None:
    _console().print(text, soft_wrap=True)


def _console() -> Console:
    """Prints text as it is: rich would otherwise read the brackets of a path as markup."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def plain_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    return table


def verdict_text(verdict: str) -> Text:
    from rich.text import Text

    return Text(verdict, _STYLES[verdict])


def error_figure(parity: ParityRecord) -> str:
    """The largest relative error, for a table."""
    figure = parity.relative_error
    return "-" if figure is None else f"{figure:.1e}"


def host_speed(latency: HostLatency | None) -> str:
    """Rough time on this host, for a table; never to be read as a phone's."""
    if latency is None:
        return "-"
    threads = "1 thread" if latency.threads == 1 else f"{latency.threads} threads"
    return f"{latency.median_ms:.3g} ms, {threads}"


def size_text(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB" if size >= 1024**2 / 10 else f"{size / 1024:.1f} KiB"


@contextmanager
def results_only() -> Iterator[None]:
    """Sends to standard error what a user's code prints meanwhile: a script reads the other."""
    sys.stdout.flush()
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def progress(
    total: int, label: str, *, quiet: bool
) -> Iterator[tuple[Callable[[str, str], None], Callable[[str], None]]]:
    """A bar over `total` things and a line for each under way.

    Gives two functions: `phase(name, what)` and `done(name)`. Silent where standard error is no
    terminal. The display writes to a copy of standard error, because the descriptor itself is
    redirected while a vendor's converter runs.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda name, what: None, lambda name: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
        display = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(file=terminal, force_terminal=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        overall = display.add_task(label, total=total)
        lines: dict[str, Any] = {}

        def phase(name: str, what: str) -> None:
            if name not in lines:
                lines[name] = display.add_task("", total=None)
            display.update(lines[name], description=f"  {name}: {what}")

        def done(name: str) -> None:
            if name in lines:
                display.remove_task(lines.pop(name))
            display.advance(overall)

        with display:
            yield phase, done
