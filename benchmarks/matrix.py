"""Every reference model on every target: the verdict on each saved file, in one table.

    python -m benchmarks.matrix [--models mobilevit_xs ...] [--jobs 2] [--output mvkit-out/matrix]

fp32 for all three targets, and fp16 CoreML packages compared with their fp32 twins. Weights are the
seeded random ones under which faults show. A file that the same code and tools made before is not
converted again. Exits with 1 unless every cell passes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import publish
from converters.manifest import ParityRecord
from converters.recipe import Recipe
from mobilevit_kit.jobs import Job, Outcome, run_jobs
from mobilevit_kit.models import list_models
from mobilevit_kit.source import SourceRequest

COLUMNS = {
    "TFLite": Recipe("tflite"),
    "CoreML": Recipe("coreml"),
    "CoreML fp16": Recipe("coreml", precision="fp16"),
    "ExecuTorch": Recipe("executorch"),
}
TOOLS = ("torch", "litert-torch", "ai-edge-litert", "coremltools", "executorch")
METHOD = (
    "verdict on each saved file; largest relative error, for fp16 the lowest SNR, "
    "over 4 photos and 2 random inputs"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list_models())
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("mvkit-out/matrix"))
    options = parser.parse_args()

    todo = [
        Job(SourceRequest(model), recipe, options.output, time_on_host=False)
        for model in options.models
        # fp32 before fp16, which takes it for its twin and would otherwise make it twice at once.
        for recipe in COLUMNS.values()
        if recipe.precision == "fp32"
    ]
    halves = [
        Job(SourceRequest(model), COLUMNS["CoreML fp16"], options.output, time_on_host=False)
        for model in options.models
    ]
    outcomes: dict[tuple[str, Recipe], Outcome] = {}
    for batch in (todo, halves):
        for outcome in run_jobs(batch, options.jobs, lambda name, phase: None):
            outcomes[outcome.job.request.model, outcome.job.recipe] = outcome
            print(f"{len(outcomes)}/{len(todo) + len(halves)} {outcome.job.name}", file=sys.stderr)
    rows = [
        {"model": model}
        | {title: _cell(outcomes[model, recipe]) for title, recipe in COLUMNS.items()}
        for model in options.models
    ]
    details = [_details(outcome) for outcome in outcomes.values()]
    publish("matrix", METHOD, TOOLS, rows, details=details)
    failed = [one for one in details if one["verdict"] != "pass"]
    for one in failed:
        print(f"{one['file']}: {one['reason']}", file=sys.stderr)
    sys.exit(bool(failed))


def _cell(outcome: Outcome) -> str:
    if outcome.artifact is None:
        return "error"
    parity = outcome.artifact.parity
    if outcome.job.recipe.precision == "fp16":
        snr = least_snr_db(parity)
        return parity.verdict + (f" {snr:.1f} dB" if snr is not None else "")
    error = parity.relative_error
    return parity.verdict + (f" {error:.1e}" if error is not None else "")


def least_snr_db(parity: ParityRecord) -> float | None:
    """The lowest signal-to-noise ratio of any output on any input, in dB."""
    found = [one.snr_db for case in parity.cases for one in case.outputs if one.snr_db is not None]
    return min(found, default=None)


def _details(outcome: Outcome) -> dict[str, Any]:
    """One cell for the JSON file."""
    if outcome.artifact is None:
        return {"file": outcome.job.name, "verdict": "error", "reason": str(outcome.error)}
    manifest = outcome.artifact.manifest
    graph = manifest.graph
    return {
        "file": outcome.job.name,
        "verdict": manifest.parity.verdict,
        "reason": manifest.parity.reason,
        "relative_error": manifest.parity.relative_error,
        "least_snr_db": least_snr_db(manifest.parity),
        "bytes": manifest.file.bytes,
        "operators": sum(graph.operators.values()) if graph else None,
        "partitions": graph.partitions if graph else None,
        "outside": sum(graph.outside.values()) if graph else None,
        "conversion_s": manifest.cost.seconds,
        "peak_memory_mib": manifest.cost.peak_memory_mib,
    }


if __name__ == "__main__":
    main()
