"""`mvkit rewrites`: what conversion does to a network's graph."""

from __future__ import annotations

import click

from .options import Output, output_options


@click.command(short_help="Lists the exact rewrites of conversion.")
@output_options
def rewrites(output: Output) -> None:
    """Lists the rewrites that conversion applies to a network's graph, in their order.

    Each is exact in real numbers. `mvkit convert --rewrites` chooses among them; a manifest says
    which were applied and how often.
    """
    from converters.rewrite import REWRITES

    from .console import plain_table, print_json, print_table

    if output.json:
        print_json(
            [
                {
                    "name": name,
                    "summary": one.summary,
                    "targets": one.targets,
                    "gain": one.gain,
                }
                for name, one in REWRITES.items()
            ]
        )
        return
    if output.quiet:
        return
    table = plain_table("rewrite", "what it does", "targets", "what it brings")
    for name, one in REWRITES.items():
        table.add_row(name, one.summary, ", ".join(one.targets), one.gain)
    print_table(table)
