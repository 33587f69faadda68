"""`mvkit info`: one reference model in full."""

from __future__ import annotations

import click

from .options import ImageSize, ModelName, Output, output_options


@click.command(short_help="Shows one model in full.")
@click.argument("model", type=ModelName())
@click.option("--input-size", type=ImageSize(), help="Another size than the model's own.")
@output_options
def info(model: str, input_size: tuple[int, int] | None, output: Output) -> None:
    """Shows a model's configuration, its stages with shapes, parameters and MACs, and sources."""
    from dataclasses import asdict

    from mobilevit_kit.models import model_card, model_config
    from mobilevit_kit.models.stages import measure_stages
    from mobilevit_kit.source import SourceRequest, check_request

    from .console import plain_table, print_json, print_line, print_table

    card = model_card(model)
    check_request(SourceRequest(model, input_size=input_size))
    stages = measure_stages(model, input_size or card.input_size)
    config = asdict(model_config(model))
    if output.json:
        document = {**asdict(card), "config": config, "stages": [asdict(s) for s in stages]}
        print_json(document)
        return
    if output.quiet:
        return
    accuracy = f"{card.top1_official} % (authors), {card.top1_timm} % (timm's checkpoint)"
    for label, value in (
        ("model", card.name),
        ("paper", f"{card.title} ({card.paper})"),
        ("source", card.repository),
        ("checkpoint", f"{card.hub}, licence of the weights: {card.weights_licence}"),
        ("top-1", accuracy),
    ):
        print_line(f"[bold]{label:<14}[/]{value}")
    print_line("[bold]configuration[/]")
    for name, value in config.items():
        print_line(f"  {name:<14}{value}")
    table = plain_table(
        "stage", "output (C,H,W)", "parameters", "M MACs", right=("parameters", "M MACs")
    )
    for stage in stages:
        shape = "x".join(map(str, stage.shape))
        table.add_row(stage.name, shape, f"{stage.parameters:,}", f"{stage.macs / 1e6:,.1f}")
    table.add_section()
    total_macs = f"{sum(s.macs for s in stages) / 1e6:,.1f}"
    table.add_row("total", "", f"{sum(s.parameters for s in stages):,}", total_macs)
    print_table(table)
