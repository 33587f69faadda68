"""`mvkit export`: measurements for other programs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .measurements import store_option
from .options import Output, output_options


@click.command(short_help="Writes measurements for other programs.")
@click.argument("selectors", metavar="[RUN...]", nargs=-1)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "parquet"]),
    required=True,
    help="json has everything; csv and parquet have a row a repeat.",
)
@click.option(
    "-o",
    "--output",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to a file.  [default: standard output]",
)
@store_option
@output_options
def export(
    selectors: tuple[str, ...], form: str, path: Path | None, location: str | None, output: Output
) -> None:
    """Writes all measurements, or those that RUN names (see `mvkit runs --help`)."""
    from android_harness.export import write_csv, write_json, write_parquet
    from android_harness.files import written_whole
    from android_harness.store import open_store, parse_selector
    from converters.errors import UsageError

    from .console import print_json, print_line

    if path is None and (form == "parquet" or output.json):
        raise UsageError(f"{'--json' if output.json else 'parquet'} needs --output FILE")
    with open_store(location) as store:
        found = store.select([parse_selector(one) for one in selectors])
        measurements = store.load([one.identity for one in found])
        write = write_csv if form == "csv" else write_json
        if path is None:
            write(measurements, sys.stdout)
            return
        with written_whole(path) as unfinished:
            if form == "parquet":
                write_parquet(measurements, unfinished)
            else:
                with unfinished.open("w", encoding="utf-8", newline="") as stream:
                    write(measurements, stream)
    if output.json:
        print_json({"file": str(path), "format": form, "runs": len(found)})
    elif not output.quiet:
        print_line(f"{path}  {len(found)} runs")
