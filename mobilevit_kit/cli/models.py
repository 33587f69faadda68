"""`mvkit models`: the reference models and what is published about them."""

from __future__ import annotations

import click

from .options import Output, output_options


@click.command(short_help="Lists the reference models.")
@click.argument("pattern", default="*")
@output_options
def models(pattern: str, output: Output) -> None:
    """Lists the reference models, or those that match PATTERN (as in 'mobilevit_*').

    Top-1 is the authors' figure on ImageNet-1k; MACs are of one image at the input size, with
    attention counted.
    """
    from dataclasses import asdict

    from converters.errors import UsageError
    from mobilevit_kit.models import list_models, model_card

    from .console import plain_table, print_json, print_table

    cards = [model_card(name) for name in list_models(pattern) if "@" not in name]
    trained = [
        model_card(name) for name in list_models(pattern if "@" in pattern else f"{pattern}@*")
    ]
    if not cards and not trained:
        raise UsageError(f"no model matches '{pattern}'", "`mvkit models` lists them all")
    if output.json:
        print_json([asdict(card) for card in cards + trained])
        return
    if output.quiet:
        return
    if cards:
        table = plain_table(
            "model", "parameters", "M MACs", "input", "top-1 %", "paper",
            right=("parameters", "M MACs", "top-1 %"),
        )  # fmt: skip
        for card in cards:
            assert card.published is not None
            table.add_row(
                card.name,
                f"{card.published.parameters:,}",
                f"{card.published.macs_millions:,}",
                "x".join(map(str, card.input_size)),
                f"{card.published.top1_official:.1f}",
                card.paper,
            )
        print_table(table)
    if trained:
        table = plain_table("trained weights", "input", "held-out accuracy %", right=("input",))
        for card in trained:
            assert card.trained is not None
            size = "x".join(map(str, card.input_size))
            table.add_row(card.name, size, f"{100 * card.trained.accuracy:.1f}")
        print_table(table)
