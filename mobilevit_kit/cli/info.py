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
    from dataclasses import asdict, fields

    from mobilevit_kit.models import model_card, model_config
    from mobilevit_kit.source import SourceRequest, check_request

    from .console import plain_table, print_json, print_line, print_table

    card = model_card(model)
    check_request(SourceRequest(model, input_size=input_size))
    config = asdict(model_config(model))  # says so where torch is missing
    from mobilevit_kit.models.stages import measure_stages

    stages = measure_stages(model, input_size or card.input_size)
    if output.json:
        document = {**asdict(card), "config": config, "stages": [asdict(s) for s in stages]}
        print_json(document)
        return
    if output.quiet:
        return
    published, trained = card.published, card.trained
    facts = []
    if published is not None:
        licence = published.weights_licence
        facts = [
            ("checkpoint", f"{published.hub}, licence of the weights: {licence}"),
            ("top-1", f"{published.top1_official} % (authors), "
                      f"{published.top1_timm} % (timm's checkpoint)"),
        ]  # fmt: skip
    if trained is not None:
        facts = [("checkpoint", f"{trained.file}, {100 * trained.accuracy:.1f} % on held-out data")]
    for label, value in (
        ("model", card.name),
        ("paper", f"{card.title} ({card.paper})"),
        ("source", card.repository),
        *facts,
    ):
        print_line(f"{label:<14}{value}")
    print_line("configuration")
    for field in fields(model_config(model)):
        value = getattr(model_config(model), field.name)
        nested = isinstance(value, tuple) and any(isinstance(one, tuple) for one in value)
        for i, line in enumerate(value if nested else [value]):
            print_line(f"  {field.name if i == 0 else '':<14}{line}")
    table = plain_table(
        "stage", "output (C,H,W)", "parameters", "M MACs", right=("parameters", "M MACs")
    )
    for stage in stages:
        if not stage.parameters and not stage.macs:
            continue  # an activation or dropout that stands alone
        shape = "x".join(map(str, stage.shape))
        table.add_row(stage.name, shape, f"{stage.parameters:,}", f"{stage.macs / 1e6:,.1f}")
    table.add_section()
    total_macs = f"{sum(s.macs for s in stages) / 1e6:,.1f}"
    table.add_row("total", "", f"{sum(s.parameters for s in stages):,}", total_macs)
    print_table(table)
