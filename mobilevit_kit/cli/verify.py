"""`mvkit verify`: converted files checked again."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import Output, output_options

if TYPE_CHECKING:
    from converters.errors import MvkitError
    from converters.verify import Verification


@click.command(short_help="Checks converted files again.")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--against-source",
    is_flag=True,
    help="Build the PyTorch source again and compare with that (needs torch).",
)
@click.option("--weights", metavar="FILE", help="The source's weights file, if it has moved since.")
@click.option(
    "--runtime",
    type=click.Choice(["evaluator", "coreml", "both"]),
    help="What runs a CoreML package: the kit's evaluator, the framework (macOS), or both.  "
    "[default: both on macOS, else the evaluator]",
)
@click.option(
    "--bisect",
    is_flag=True,
    help="Find the first block and operator at which the file differs from its source (needs "
    "torch).",
)
@output_options
def verify(
    files: tuple[Path, ...],
    against_source: bool,
    weights: str | None,
    runtime: Any,
    bisect: bool,
    output: Output,
) -> int:
    """Runs converted files and compares them with the tensors that were stored beside them.

    Needs neither torch nor the source. Exits with 1 if a file fails or its check shows nothing,
    with 2 if an artifact is damaged or was altered.
    """
    from converters.errors import MvkitError, UsageError

    from .console import progress, results_only

    if weights is not None and not (against_source or bisect):
        raise UsageError("--weights is only used with --against-source and --bisect")
    if bisect:
        if len(files) > 1:
            raise UsageError("--bisect takes one file at a time")
        if runtime is not None:
            raise UsageError("--bisect looks at values as the evaluator has them; leave --runtime")
        return _bisect(files[0], weights, output)
    results: list[tuple[Path, Verification | MvkitError]] = []
    bars = progress(len(files), "verify", quiet=output.quiet)
    with bars as (phase, done), results_only():
        for file in files:
            phase(file.name, "running the file")
            try:
                results.append((file, _verify(file, against_source, weights, runtime)))
            except MvkitError as error:
                if len(files) == 1:
                    raise
                results.append((file, error))
            done(file.name)
    _print(results, output)
    return max(_exit_code(result) for _, result in results)


def _bisect(file: Path, weights: str | None, output: Output) -> int:
    from converters.bisection.artifact import bisect_artifact
    from mobilevit_kit.source import rebuild_source

    from .bisection import bisection_document, print_bisection
    from .console import print_json, progress, results_only

    with progress(1, "bisect", quiet=output.quiet) as (phase, done), results_only():
        phase(file.name, "building the source")
        source = rebuild_source(file, weights)
        phase(file.name, "comparing value by value")
        result = bisect_artifact(file, source.module, source.examples)
        done(file.name)
    if output.json:
        print_json({"file": str(file), **bisection_document(result)})
    elif not output.quiet:
        print_bisection(file, result)
    return _exit_code(result.verification)


def _verify(file: Path, against_source: bool, weights: str | None, runtime: Any) -> Verification:
    from converters.verify import verify as verify_file

    if not against_source:
        return verify_file(file, runtime=runtime)
    from mobilevit_kit.source import rebuild_source

    source = rebuild_source(file, weights)
    return verify_file(file, source.module, source.examples, runtime=runtime)


def _exit_code(result: Verification | MvkitError) -> int:
    if isinstance(result, Exception):
        return result.exit_code
    return 0 if result.checked.parity.verdict == "pass" else 1


def _print(results: list[tuple[Path, Verification | MvkitError]], output: Output) -> None:
    from .console import (
        error_figure,
        plain_table,
        print_json,
        print_line,
        print_table,
        verdict_text,
    )

    for _, result in results:
        if isinstance(result, Exception):
            if output.debug:
                traceback.print_exception(result)
            click.echo(f"mvkit: {result}", err=True)
    if output.json:
        print_json([_document(file, result) for file, result in results])
    if output.json or output.quiet:
        return
    table = plain_table(
        "file", "verdict", "relative error", "SNR", "cosine", "compared with",
        right=("relative error", "SNR", "cosine"),
    )  # fmt: skip
    for file, result in results:
        if isinstance(result, Exception):
            table.add_row(str(file), verdict_text("error"), "-", "-", "-", "-")
            continue
        parity = result.checked.parity
        outputs = [one for case in parity.cases for one in case.outputs]
        noisy = [one.snr_db for one in outputs if one.snr_db is not None]
        table.add_row(
            str(file),
            verdict_text(parity.verdict),
            error_figure(parity),
            f"{min(noisy):.1f} dB" if noisy else "-",
            f"{min(one.cosine for one in outputs):.8f}" if outputs else "-",
            result.against,
        )
    print_table(table)
    for _, result in results:
        if not isinstance(result, Exception):
            manifest = result.artifact.manifest
            print_line(f"{manifest.name}: {result.checked.parity.reason}")
            print_line(f"  weights  {manifest.source.weights.describe()}")
            print_line(f"  runtime  {result.checked.parity.runtime or 'none could run it'}")


def _document(file: Path, result: Verification | MvkitError) -> dict[str, Any]:
    if isinstance(result, Exception):
        return {"file": str(file), "verdict": None, "error": str(result)}
    from dataclasses import asdict

    return {
        "file": str(file),
        "compared_with": result.against,
        "weights": result.artifact.manifest.source.weights.describe(),
        **asdict(result.checked.parity),
    }
