"""Conversion time and peak memory of this kit beside the stock converter on timm's model.

    python -m benchmarks.convert_time [--models NAME ...] [--targets tflite ...] [--rounds 3]

Each conversion runs in a process of its own, ours and the stock one in turn, so that both meet the
same state of the machine. "stock" is the vendor's documented route (`benchmarks/stock.py`) on
timm's model with the same weights, saved to a file. "ours" is `converters.convert` without and with
the parity check, golden tensors and manifest. Imports are not counted; memory is the process's
peak.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import publish
from benchmarks.stock import ROUTES, stock_network

WAYS = ("stock", "ours", "ours, verified")
TOOLS = ("torch", "litert-torch", "coremltools", "executorch", "timm")
MARK = "figures "


def convert_once(way: str, target: str, model: str, folder: str) -> None:
    """The child: converts once and prints seconds and MiB."""
    import torch

    from converters import convert, provenance
    from mobilevit_kit.models import model_card
    from mobilevit_kit.source import SourceRequest, build_source

    route = ROUTES[target]
    for name in route.modules:
        importlib.import_module(name)
    if way == "stock":
        network = stock_network(model)
        image = torch.zeros(1, 3, *model_card(model).input_size)
        started = time.perf_counter()
        route.convert(network, image, f"{folder}/{model}{route.suffix}")
    else:
        source = build_source(SourceRequest(model))
        started = time.perf_counter()
        convert(
            source.module, source.examples, target, output_dir=folder, photos=source.photos,
            preprocessing=source.preprocessing, verify=way != "ours", time_on_host=False,
        )  # fmt: skip
    seconds = time.perf_counter() - started
    print(MARK + json.dumps([seconds, provenance.peak_memory_mib()]))


def measure(way: str, target: str, model: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        once = ["--once", way, target, model, folder]
        command = [sys.executable, "-m", "benchmarks.convert_time", *once]
        root = Path(__file__).parent.parent
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith(MARK))
    seconds, mib = json.loads(line.removeprefix(MARK))
    return seconds, mib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["mobilevit_xxs", "mobilevit_xs"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--targets", nargs="+", default=list(ROUTES), choices=list(ROUTES))
    parser.add_argument("--once", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        convert_once(*options.once)
        return
    rows = []
    for model, target in itertools.product(options.models, options.targets):
        figures: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way in WAYS:
                figures[way].append(measure(way, target, model))
        medians = {
            way: [statistics.median(column) for column in zip(*runs, strict=True)]
            for way, runs in figures.items()
        }
        for way in WAYS:
            seconds, mib = medians[way]
            rows.append(
                {
                    "model": model,
                    "target": target,
                    "way": way,
                    "seconds": round(seconds, 2),
                    "time_ratio": round(seconds / medians["stock"][0], 3),
                    "peak_mib": round(mib),
                    "memory_ratio": round(mib / medians["stock"][1], 3),
                }
            )
    method = f"medians of {options.rounds} interleaved rounds, one process a conversion, fp32"
    publish("convert_time", method, TOOLS, rows)


if __name__ == "__main__":
    main()
