"""`mvkit convert`: networks to verified files."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    ImageSize,
    ImageSizes,
    ModelName,
    Output,
    RewriteNames,
    TargetNames,
    output_options,
)

if TYPE_CHECKING:
    from mobilevit_kit.jobs import Outcome
    from mobilevit_kit.source import SourceRequest


@click.command(short_help="Converts networks and checks each saved file.")
@click.argument("models", metavar="[MODEL]...", nargs=-1, type=ModelName())
@click.option("--all", "every", is_flag=True, help="All the reference models.")
@click.option(
    "--target",
    required=True,
    type=TargetNames(),
    help="What to convert to: tflite, coreml, executorch, several with commas, or all.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="fp16 (coreml) is checked against its fp32 twin, which is made too.",
)
@click.option(
    "--backend",
    type=click.Choice(["xnnpack", "portable", "coreml"]),
    help="executorch: what runs the graph.  [default: xnnpack]",
)
@click.option(
    "--minimum-deployment-target",
    type=click.Choice(["iOS16", "iOS17", "iOS18"]),
    help="coreml.  [default: iOS16]",
)
@click.option(
    "--input-kind",
    type=click.Choice(["tensor", "image"]),
    default="tensor",
    show_default=True,
    help="coreml: an image input takes a photo, and the file normalises it.",
)
@click.option(
    "--sizes",
    type=ImageSizes(),
    help="coreml: image sizes that the file takes besides its own, as in 192x192,320x320.",
)
@click.option("--dynamic-batch", is_flag=True, help="The file takes 1 to 8 images at once.")
@click.option(
    "--rewrites",
    type=RewriteNames(),
    default="all",
    show_default=True,
    metavar="all|none|LIST",
    help="Exact rewrites of the graph; `mvkit rewrites` lists them.",
)
@click.option(
    "--emitter",
    type=click.Choice(["auto", "direct", "litert", "executorch"]),
    default="auto",
    show_default=True,
    help="tflite, executorch: what writes the file. auto: the kit itself where it covers the "
    "network, else the vendor's converter.",
)
@click.option("--author", help="coreml: for the file's metadata.")
@click.option("--licence", help="coreml: for the file's metadata.")
@click.option("--model-version", help="coreml: for the file's metadata.")
@click.option("--description", help="coreml: for the file's metadata.")
@click.option("--input-size", type=ImageSize(), help="Image size, as in 192x320.")
@click.option("--batch", type=int, default=1, show_default=True, help="Images in one run.")
@click.option("--num-classes", type=int, help="1000, or as trained; 0: no classifier.")
@click.option("--in-channels", type=int, default=3, show_default=True, help="Image channels.")
@click.option(
    "--weights",
    metavar="FILE|timm|loud",
    help="A .safetensors, .pt or .pth file, the published checkpoint, or the seeded random "
    "weights that are the default of a reference model.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights and inputs.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]SHAPE[:TYPE]",
    help="An input of your own network, as in ids=1x16:int64; once for each.",
)
@click.option(
    "--layout",
    type=click.Choice(["nchw", "nhwc"]),
    help="Of the file's image input; nchw, or nhwc with --embed-preprocessing.",
)
@click.option(
    "--embed-preprocessing",
    is_flag=True,
    help="The file takes uint8 photos, already resized, and normalises them itself.",
)
@click.option(
    "--preprocessing",
    "recipe",
    type=click.Path(path_type=Path),
    help="A .toml or .json file with crop, interpolation, mean, std, channel_order.",
)
@click.option("--mean", metavar="R,G,B", help="Subtracted from photos in 0..1.")
@click.option("--std", metavar="R,G,B", help="Divides what is left.")
@click.option("--crop", type=float, help="Share of the resized photo that is kept.")
@click.option("--interpolation", metavar="FILTER", help="nearest, bilinear or bicubic.")
@click.option("--channel-order", metavar="ORDER", help="rgb, bgr or grey.")
@click.option(
    "--output",
    "output_dir",
    type=click.Path(path_type=Path),
    default=Path("mvkit-out"),
    show_default=True,
    help="Folder for the files.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="At once.")
@click.option("--force", is_flag=True, help="Replace a different file of the same name.")
@click.option("--no-verify", is_flag=True, help='Skip the check; the verdict is "unverified".')
@output_options
def convert(
    models: tuple[str, ...],
    every: bool,
    target: str,
    precision: Any,
    backend: str | None,
    minimum_deployment_target: str | None,
    input_kind: Any,
    sizes: tuple[tuple[int, int], ...] | None,
    dynamic_batch: bool,
    rewrites: str,
    emitter: Any,
    author: str | None,
    licence: str | None,
    model_version: str | None,
    description: str | None,
    input_size: tuple[int, int] | None,
    batch: int,
    num_classes: int | None,
    in_channels: int,
    weights: str | None,
    seed: int,
    inputs: tuple[str, ...],
    layout: Any,
    embed_preprocessing: bool,
    output_dir: Path,
    jobs: int,
    force: bool,
    no_verify: bool,
    output: Output,
    **preprocessing: Any,
) -> int:
    """Converts networks and checks each saved file against its source.

    MODEL is a reference model (`mvkit models` lists them) or your own network, as
    my_net.py:make_model or package.module:attribute, with its --input.

    Each file stands beside its manifest (.json) and its golden tensors (.npz). A file that does
    not compute what its source computes is kept under a name ending in -FAILED, and the command
    exits with 1.
    """
    from converters.errors import UsageError
    from converters.recipe import BATCH_LIMIT, Recipe
    from converters.rewrite import parse_rewrites
    from converters.targets import for_targets, parse_targets
    from mobilevit_kit.jobs import Job, check_jobs, run_jobs
    from mobilevit_kit.models import list_models
    from mobilevit_kit.source import SourceRequest, parse_input

    from .console import progress, results_only

    if every:
        models = (*models, *list_models())
    if not models:
        raise UsageError("no model is named", "`mvkit models` lists them; --all converts each")
    parsed = tuple(parse_input(text) for text in inputs)
    targets = parse_targets(target)
    recipes = for_targets(
        targets,
        Recipe(
            targets[0],
            precision=precision,
            backend=backend,
            minimum_deployment_target=minimum_deployment_target,
            input_kind=input_kind,
            sizes=sizes or (),
            dynamic_batch=BATCH_LIMIT if dynamic_batch else None,
            rewrites=parse_rewrites(rewrites),
            emitter=emitter,
            author=author,
            licence=licence,
            version=model_version,
            description=description,
        ),
    )
    todo = []
    for model in dict.fromkeys(models):
        request = SourceRequest(
            model, weights, seed, num_classes, in_channels, input_size, batch, parsed
        )
        request = _with_preprocessing(request, **preprocessing)
        for recipe in recipes:
            job = Job(
                request=request,
                recipe=recipe,
                output_dir=output_dir,
                layout=layout or ("nhwc" if embed_preprocessing else "nchw"),
                embed_preprocessing=embed_preprocessing,
                verify=not no_verify,
                time_on_host=jobs == 1,  # beside another conversion a time would mean little
                force=force,
                verbose=output.verbose,
            )
            todo.append(job)
    check_jobs(todo)

    outcomes = []
    bars = progress(len(todo), f"to {', '.join(targets)}", quiet=output.quiet)
    with bars as (phase, done), results_only():
        for outcome in run_jobs(todo, jobs, phase):
            done(outcome.job.name)
            outcomes.append(outcome)
    if len(outcomes) == 1 and outcomes[0].error is not None:
        raise outcomes[0].error
    order = {job.name: i for i, job in enumerate(todo)}
    outcomes.sort(key=lambda outcome: order[outcome.job.name])
    _print(outcomes, output)
    return max(_exit_code(outcome) for outcome in outcomes)


def _with_preprocessing(request: SourceRequest, recipe: Path | None, **flags: Any) -> SourceRequest:
    """The request with the user's preprocessing, from a file or from flags."""
    from dataclasses import replace

    from converters.errors import UsageError
    from mobilevit_kit.models import model_card
    from mobilevit_kit.preprocessing_file import preprocessing_from_flags, read_preprocessing

    if recipe is None and all(value is None for value in flags.values()):
        return request
    if request.is_factory:
        images = [one.shape[2:] for one in request.inputs if len(one.shape) == 4]
        if len(images) != 1:
            raise UsageError("preprocessing needs exactly one image input (1x3xHxW)")
        size = images[0][0], images[0][1]
    else:
        size = request.input_size or model_card(request.model).input_size
    chosen = preprocessing_from_flags(size, **flags)
    if recipe is not None:
        if chosen is not None:
            raise UsageError("--preprocessing and single flags such as --mean exclude each other")
        chosen = read_preprocessing(recipe, size)
    return replace(request, preprocessing=chosen)


def _exit_code(outcome: Outcome) -> int:
    if outcome.error is not None:
        return outcome.error.exit_code
    assert outcome.artifact is not None
    if outcome.artifact.parity.verdict == "pass":
        return 0
    return int(outcome.job.verify)  # a check that was wanted and shows nothing is no success


def _print(outcomes: list[Outcome], output: Output) -> None:
    from .console import (
        error_figure,
        host_speed,
        plain_table,
        print_json,
        print_line,
        print_table,
        size_text,
        verdict_text,
    )

    several = len({outcome.job.recipe.target for outcome in outcomes}) > 1
    for outcome in outcomes:
        if outcome.error is not None:
            if output.debug:
                traceback.print_exception(outcome.error)
            model, text = outcome.job.request.model, str(outcome.error)
            text = text if model in text else f"{model}: {text}"
            where = f"{outcome.job.recipe.target}: " if several else ""
            click.echo(f"mvkit: {where}{text}", err=True)
    if output.json:
        print_json([_document(outcome) for outcome in outcomes])
    if output.json or output.quiet:
        return
    table = plain_table(
        "file", "size", "verdict", "relative error", "this host", "",
        right=("size", "relative error", "this host"),
    )  # fmt: skip
    for outcome in outcomes:
        artifact = outcome.artifact
        if artifact is None:
            table.add_row(outcome.job.name, "-", verdict_text("error"), "-", "-", "")
            continue
        table.add_row(
            str(artifact.path),
            size_text(artifact.manifest.file.bytes),
            verdict_text(artifact.parity.verdict),
            error_figure(artifact.parity),
            host_speed(artifact.manifest.host_latency),
            "unchanged, nothing to do" if outcome.unchanged else "",
        )
    print_table(table)
    made = [outcome.artifact for outcome in outcomes if outcome.artifact is not None]
    for text in dict.fromkeys(artifact.manifest.source.weights.describe() for artifact in made):
        print_line(f"weights  {text}")
    for artifact in made:
        name = f"{artifact.path.name}: " if len(made) > 1 else ""
        if len(made) == 1 or artifact.parity.verdict != "pass":
            print_line(f"checked  {name}{artifact.parity.reason}")
        route = artifact.manifest.route
        if route is not None and route.reason is not None:
            print_line(f"emitter  {name}{route.emitter}; the kit's own does not: {route.reason}")
    if len(made) > 1:
        peak = max(artifact.manifest.cost.peak_memory_mib for artifact in made)
        print_line(f"memory   {peak:.0f} MiB at most in one conversion")
    failed = [artifact.path for artifact in made if artifact.parity.verdict == "fail"]
    if failed:
        print_line(f"next     mvkit verify {failed[0]} --bisect")
    elif made:
        print_line(f"next     mvkit verify {made[0].path}")


def _document(outcome: Outcome) -> dict[str, Any]:
    """One result for `--json`."""
    document: dict[str, Any] = {
        "model": outcome.job.request.model,
        "target": outcome.job.recipe.target,
    }
    if outcome.error is not None:
        return {**document, "status": "error", "error": str(outcome.error)}
    artifact = outcome.artifact
    assert artifact is not None
    manifest = artifact.manifest
    latency = manifest.host_latency
    return {
        **document,
        "status": "unchanged" if outcome.unchanged else "converted",
        "file": str(artifact.path),
        "bytes": manifest.file.bytes,
        "sha256": manifest.file.sha256,
        "verdict": artifact.parity.verdict,
        "reason": artifact.parity.reason,
        "relative_error": artifact.parity.relative_error,
        "weights": manifest.source.weights.describe(),
        "seconds": manifest.cost.seconds,
        "peak_memory_mib": manifest.cost.peak_memory_mib,
        "rewrites": dict(manifest.rewrites),
        "emitter": None if manifest.route is None else manifest.route.emitter,
        "emitter_reason": None if manifest.route is None else manifest.route.reason,
        "host_latency_ms": latency.median_ms if latency else None,
        "host_latency_threads": latency.threads if latency else None,
    }
