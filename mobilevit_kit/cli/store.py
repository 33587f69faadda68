"""`mvkit store`: care of the place where measurements are kept."""

from __future__ import annotations

import click

from .measurements import store_option
from .options import Output, SuggestingGroup, output_options


@click.group(cls=SuggestingGroup, short_help="Upgrades a store or merges another into it.")
def store() -> None:
    """Upgrades a store, or merges another into it."""


@store.command(short_help="Brings a server's tables up to date.")
@store_option
@output_options
def upgrade(location: str | None, output: Output) -> None:
    """Makes the tables of a PostgreSQL store, or brings them up to date.

    A file needs no such call: it is brought up to date when it is opened.
    """
    from android_harness.store import upgrade_store

    from .console import print_json, print_line

    before, now = upgrade_store(location)
    if output.json:
        print_json({"before": before, "now": now})
    elif not output.quiet:
        what = "was up to date" if before == now else f"upgraded from {before or 'nothing'}"
        print_line(f"schema {now}  {what}")


@store.command(short_help="Adds what another store has.")
@click.argument("other")
@store_option
@output_options
def merge(other: str, location: str | None, output: Output) -> int:
    """Adds to the store what OTHER, a file or URL, has and it lacks.

    Twice is the same as once. A measurement that has grown in OTHER grows. Exits with 1 if the
    two contradict each other about a measurement; the store's own stays then.
    """
    from dataclasses import asdict

    from android_harness.store import merge as merge_stores
    from android_harness.store import open_store

    from .console import print_json, print_line

    with open_store(other) as theirs, open_store(location, create=True) as ours:
        merged = merge_stores(ours, theirs)
    if output.json:
        print_json(asdict(merged))
    elif not output.quiet:
        print_line(
            f"{len(merged.added)} added, {len(merged.grown)} grown, "
            f"{len(merged.unchanged)} unchanged, {len(merged.conflicting)} in conflict"
        )
        for identity in merged.conflicting:
            print_line(f"in conflict  {identity}: other results for the same repeat; ours stay")
    return 1 if merged.conflicting else 0
