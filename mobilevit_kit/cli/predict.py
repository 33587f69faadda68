"""`mvkit predict`: the first five classes of photos."""

from __future__ import annotations

from pathlib import Path

import click

from .options import ModelName, Output, output_options


@click.command(short_help="Shows what a file or model sees in photos.")
@click.argument("model", metavar="FILE|MODEL", type=ModelName())
@click.argument(
    "photos", metavar="PHOTO...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--weights", metavar="FILE|timm|loud", help="Of a reference model.")
@output_options
def predict(model: str, photos: tuple[Path, ...], weights: str | None, output: Output) -> None:
    """Shows what a converted file, or a reference model in PyTorch, sees in photos."""
    from dataclasses import asdict

    from rich.text import Text

    from converters.errors import UsageError
    from mobilevit_kit.models import list_models
    from mobilevit_kit.predict import predict_file, predict_model
    from mobilevit_kit.source import SourceRequest, check_request

    from .console import plain_table, print_json, print_line, print_table, progress

    file = Path(model)
    if ":" in model and not file.exists():
        raise UsageError(f"{model} is a network of your own", "convert it, then name its file here")
    if model not in list_models() and (file.exists() or file.suffix or "/" in model):
        if weights is not None:
            raise UsageError(f"--weights is for reference models; {model} holds its own")
        with progress(1, "predict", quiet=output.quiet) as (phase, _):
            phase(file.name, "running the file")
            predictions = predict_file(file, photos)
    else:
        request = SourceRequest(model, weights)
        check_request(request)
        with progress(1, "predict", quiet=output.quiet) as (phase, _):
            phase(model, "running the network")
            predictions = predict_model(request, photos)
    if output.json:
        print_json(asdict(predictions))
        return
    if output.quiet:
        return
    for photo, guesses in predictions.photos.items():
        table = plain_table(photo, "", "probability", right=("probability",))
        for guess in guesses:
            bar = Text("█" * max(1, round(24 * guess.probability)), "cyan")
            table.add_row(guess.label, bar, f"{guess.probability:.1%}")
        print_table(table)
    print_line(f"weights  {predictions.weights}")
