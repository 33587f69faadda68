"""Conversion time and peak memory of this kit beside the stock converter on timm's model.

    python -m benchmarks.convert_time                    # all models, each target
    python -m benchmarks.convert_time --models mobilevit_xs --targets all --rounds 3

fp32, one thread. Each conversion runs in a process of its own that has converted a tiny network
before, so that imports and what a tool sets up once are counted for neither. "stock" is the
vendor's documented route (`benchmarks/stock.py`) on timm's model with the same weights, to a saved
file; "ours" is the same step of `converters.convert`, as the manifest states it. "proved" is all
that `converters.convert` does: reference outputs for photos and random input, golden tensors, the
file checked in its runtime, the manifest. The target "all" is the three of them, proved, in one
process, beside the sum of the stock routes. Memory is the process's peak.

Results are written after each model and target, and those of others are kept.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any

from benchmarks import report
from benchmarks.process import in_fresh_process
from benchmarks.stock import ROUTES, image_of, stock_network
from mobilevit_kit.models import list_models

if TYPE_CHECKING:
    from torch import Tensor, nn

TOOLS = ("torch", "litert-torch", "coremltools", "executorch", "timm")
METHOD = "seconds, medians over rounds; one thread, one process a conversion, imports not counted"


def warm_up() -> tuple[nn.Module, Tensor]:
    """A tiny network and its image, for what a process does only once."""
    import torch

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    return network.eval(), torch.zeros(1, 3, 8, 8)


def stock_once(target: str, model: str) -> tuple[float, float]:
    """Seconds and peak memory (MiB) of the vendor's route."""
    import torch

    from converters import provenance, vendor_output

    torch.set_num_threads(1)
    route = ROUTES[target]
    for name in route.modules:
        importlib.import_module(name)
    network = stock_network(model)
    image = image_of(network)
    with tempfile.TemporaryDirectory() as folder, vendor_output.silenced():
        with torch.no_grad():
            network(image)
        tiny, photo = warm_up()
        route.convert(tiny, photo, f"{folder}/tiny{route.suffix}")
        provenance.reset_peak_memory()
        started = time.perf_counter()
        route.convert(network, image, f"{folder}/{model}{route.suffix}")
        return time.perf_counter() - started, provenance.peak_memory_mib()


def ours_once(targets: tuple[str, ...], model: str) -> tuple[float, float, float]:
    """Seconds to the saved files, seconds in all with the proof, and peak memory (MiB)."""
    import torch

    from converters import convert, provenance
    from mobilevit_kit.source import SourceRequest, build_source

    torch.set_num_threads(1)
    source = build_source(SourceRequest(model))
    with tempfile.TemporaryDirectory() as folder:
        tiny, photo = warm_up()
        for target in targets:
            convert(tiny, photo, target, name="tiny", output_dir=folder)
        provenance.reset_peak_memory()
        preparations: dict[Any, Any] = {}
        started, saved, peak = time.perf_counter(), 0.0, 0.0
        for target in targets:
            artifact = convert(
                source.module, source.examples, target, name=model, output_dir=folder,
                photos=source.photos, preprocessing=source.preprocessing,
                preparations=preparations, time_on_host=False,
            )  # fmt: skip
            if artifact.parity.verdict != "pass":
                raise SystemExit(f"{model} on {target}: {artifact.parity.verdict}")
            saved += artifact.manifest.cost.seconds
            peak = max(peak, artifact.manifest.cost.peak_memory_mib)
        return saved, time.perf_counter() - started, peak


def measured(target: str, model: str, rounds: int) -> dict[str, Any]:
    """The row of a model and a target; the sides take turns."""
    targets = tuple(ROUTES) if target == "all" else (target,)
    stock, ours = [], []
    for _ in range(rounds):
        ours.append(in_fresh_process(ours_once, targets, model))
        each = [in_fresh_process(stock_once, one, model) for one in targets]
        stock.append((sum(seconds for seconds, _ in each), max(peak for _, peak in each)))
    stock_s, stock_mib = (statistics.median(column) for column in zip(*stock, strict=True))
    ours_s, proved_s, ours_mib = (statistics.median(column) for column in zip(*ours, strict=True))
    return {
        "model": model,
        "target": target,
        "stock_s": round(stock_s, 2),
        "ours_s": round(ours_s, 2),
        "proved_s": round(proved_s, 2),
        "ratio": round(stock_s / ours_s, 2),
        "ratio_proved": round(stock_s / proved_s, 2),
        "stock_mib": round(stock_mib),
        "ours_mib": round(ours_mib),
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = (*ROUTES, "all")
    parser.add_argument("--models", nargs="+", default=list_models(), choices=list_models())
    parser.add_argument("--targets", nargs="+", default=list(ROUTES), choices=choices)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    rows = {(row["model"], row["target"]): row for row in report.kept("convert_time", TOOLS)}
    for model, target in itertools.product(options.models, options.targets):
        rows[model, target] = measured(target, model, options.rounds)
        ordered = [rows[k] for k in itertools.product(list_models(), choices) if k in rows]
        report.write("convert_time", METHOD, TOOLS, ordered, medians=medians(ordered))
    report.show(METHOD, ordered)
    report.show("medians over models", medians(ordered))


def medians(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times faster, over the models of each target."""
    targets = dict.fromkeys(row["target"] for row in rows)
    return [
        {
            "target": target,
            "models": len(of := [row for row in rows if row["target"] == target]),
            "ratio": statistics.median(row["ratio"] for row in of),
            "ratio_proved": statistics.median(row["ratio_proved"] for row in of),
        }
        for target in targets
    ]


if __name__ == "__main__":
    main()
