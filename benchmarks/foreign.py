"""Latency of networks that the kit does not contain, beside the stock converters.

    python -m benchmarks.foreign [--models NAME ...] [--targets tflite executorch] [--draft]

timm's networks with seeded loud weights, through the door that a user's own network takes
(`converters.convert` of an nn.Module) and through the vendor's documented route, fp32, batch 1, one
thread. "unfused" is the stock route with timm's fused attention switched off. The files must agree
on a random image before anything is timed; how they take turns is in `benchmarks/timing.py`.

Stock files stay in the cache of `benchmarks/latency.py`. Results are written after each network,
and those of others are kept; `--draft` measures shortly and writes nothing.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import report
from benchmarks.latency import (
    CACHE,
    DRAFT,
    MAX_ERROR,
    TARGETS,
    TOOLS,
    agreement,
    medians_and_ratios,
    stock_files,
)
from benchmarks.process import in_fresh_process
from benchmarks.stock import image_of, stock_network
from benchmarks.timing import Subject, measure, outputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What each of them has that a phone's delegate finds hard.
MODELS = {
    "convnext_atto": "7x7 depthwise, layer norm over channels",
    "deit_tiny_patch16_224": "attention, layer norm",
    "efficientvit_b0": "linear attention",
    "fastvit_t8": "7x7 depthwise, layer scale, attention",
    "ghostnetv2_100": "cheap features, gated by pooled attention",
    "inception_next_tiny": "11x1 and 1x11 depthwise",
    "levit_128s": "attention with biases, hard-swish",
    "mambaout_femto": "7x7 depthwise, gates, layer norm",
    "poolformerv2_s12": "pooling, star-relu, group norm",
    "repvit_m1": "parallel branches",
    "swiftformer_xs": "additive attention",
    "xcit_nano_12_p16_224": "attention between channels",
}
METHOD = f"fp32, batch 1, one thread, ms; ratio = stock / ours; outputs agree to {MAX_ERROR:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=5.0, help="of turns in a process")
    parser.add_argument("--processes", type=int, default=5, help="at least 2")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for stock files")
    parser.add_argument("--draft", action="store_true", help=f"{DRAFT}, and write nothing")
    options = parser.parse_args()
    if options.draft:
        parser.set_defaults(**DRAFT)
        options = parser.parse_args()
    kept = [] if options.draft else report.kept("foreign", TOOLS)
    rows = {(row["model"], row["target"]): row for row in kept}
    failed = False
    for model, target in itertools.product(options.models, options.targets):
        print(f"{model} {target}", file=sys.stderr)
        try:
            rows[model, target] = measured(model, target, options)
        except Exception as error:
            # What is wrong with one network must not stop the measuring of the others.
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            failed = True
        ordered = [rows[key] for key in itertools.product(MODELS, TARGETS) if key in rows]
        if ordered and not options.draft:
            report.write("foreign", METHOD, TOOLS, ordered)
    if rows:
        report.show(METHOD, [cells(row) for row in ordered])
    sys.exit(failed)


def measured(model: str, target: str, options: argparse.Namespace) -> dict[str, Any]:
    """Raises ParityError where the files do not agree."""
    files = stock_files(model, target, options.cache)
    with tempfile.TemporaryDirectory() as folder:
        files["ours"], image, route = in_fresh_process(_convert, model, target, folder)
        subjects = {name: Subject(file, image) for name, file in files.items()}
        errors = agreement(outputs(target, subjects))
        times = measure(
            target, subjects, threads=1, seconds=options.seconds, processes=options.processes
        )
    has = {"model": model, "has": MODELS[model], "target": target}
    return {**has, **medians_and_ratios(times), **route, "relative_errors": errors}


def _convert(
    model: str, target: str, folder: str
) -> tuple[Path, NDArray[np.float32], dict[str, Any]]:
    """The kit's file, the image that it was made with, and how it was made."""
    from converters import convert

    network = stock_network(model)
    image = image_of(network)
    artifact = convert(network, image, target, name=model, output_dir=folder, time_on_host=False)
    if artifact.parity.verdict != "pass":
        raise SystemExit(f"{model} on {target}: parity {artifact.parity.verdict}")
    manifest = artifact.manifest
    made = {
        "emitter": manifest.route.emitter,
        "reason": manifest.route.reason,
        "partitions": manifest.graph.partitions,
        "outside": sum(manifest.graph.outside.values()),
        "rewrites": dict(manifest.rewrites),
    }
    return artifact.path, image.numpy(), made


def cells(row: dict[str, Any]) -> dict[str, Any]:
    """A row's figures for the table."""
    ratios = {
        f"{name}/ours": f"{found['median']:.2f} {found['low']:.2f}-{found['high']:.2f}"
        if (found := row.get(f"{name}_ratio"))
        else "-"
        for name in ("stock", "unfused")
    }
    return {
        "model": row["model"],
        "target": row["target"],
        "ours_ms": row["ours_ms"],
        "stock_ms": row["stock_ms"],
        **ratios,
        "by": row["emitter"],
        "partitions": f"{row['partitions']}+{row['outside']}",
        "error": f"{max(row['relative_errors'].values()):.0e}",
    }


if __name__ == "__main__":
    main()
