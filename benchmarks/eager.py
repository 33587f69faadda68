"""Eager latency and peak memory of the kit's networks beside timm's, with the same weights.

    python -m benchmarks.eager                  # all models, one thread
    python -m benchmarks.eager 'edgenext_*' --threads 2

Both networks see the same machine at the same moment: for latency they take turns in one process,
now one ahead and now the other, and a process's ratio is the median over these turns, which a
busy machine slows alike. The luck of memory layout lasts for a whole process and can favour the
network that was built first, so that processes come in pairs, one for each order, whose ratios
are averaged; the table has the median of the pairs, the file has each of them. For memory each
measurement is a process of its own, ours and timm's in turn; this part needs Linux.

Writes `benchmarks/results/eager.json` and ends with status 1 if a ratio is over 1.03.
"""

from __future__ import annotations

import ctypes
import dataclasses
import datetime
import importlib.metadata
import json
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from rich import box
from rich.console import Console
from rich.table import Table

from converters.provenance import host, peak_memory_mib, reset_peak_memory
from mobilevit_kit import create_model, list_models
from mobilevit_kit.models.registry import model_card

if TYPE_CHECKING:
    from torch import nn

Side = Literal["ours", "timm"]
SIDES: tuple[Side, Side] = ("ours", "timm")
MARGIN = 1.03  # a ratio up to here is the machine's noise
WARM_UPS = 5
MEMORY_RUNS = 3
RESULTS = Path(__file__).parent / "results" / "eager.json"


@click.command()
@click.argument("patterns", nargs=-1)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True)
@click.option("--pairs", type=click.IntRange(1), default=4, show_default=True, help="Of processes.")
@click.option("--runs", type=click.IntRange(1), default=30, show_default=True, help="In a process.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, help="JSON file.")
def main(
    patterns: tuple[str, ...], threads: int, batch: int, pairs: int, runs: int, output: Path
) -> None:
    """Compares the networks whose names match PATTERNS (all by default) with timm's."""
    names = [name for pattern in patterns or ("*",) for name in list_models(pattern)]
    if not names:
        raise click.UsageError(f"no model matches {' '.join(patterns)}")
    console = Console(width=120)
    rows: list[dict[str, Any]] = []
    tools = ("mobilevit-kit", "torch", "timm")
    document = {
        "date": datetime.date.today().isoformat(),
        "host": dataclasses.asdict(host()),
        "versions": {"python": platform.python_version()}
        | {tool: importlib.metadata.version(tool) for tool in tools},
        "settings": {"threads": threads, "batch": batch, "pairs": pairs, "runs": runs},
        "models": rows,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(names):
        with console.status(name):
            rows.append(compare(name, threads, batch, pairs, runs))
        # After each model: what was measured is not lost when the run is stopped.
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    console.print(table(rows))
    if any(row[what]["ratio"] > MARGIN for row in rows for what in ("latency_ms", "memory_mib")):
        sys.exit(1)


def compare(name: str, threads: int, batch: int, pairs: int, runs: int) -> dict[str, Any]:
    """One row: medians of both sides, and ours divided by timm's."""
    shape = (batch, 3, *model_card(name).input_size)
    milliseconds: dict[Side, list[float]] = {side: [] for side in SIDES}
    ratios = []
    for _ in range(pairs):
        pair = [
            in_fresh_process(latencies, name, order, shape, threads, runs)
            for order in (SIDES, SIDES[::-1])
        ]
        ratios.append(statistics.geometric_mean(statistics.median(quotients(p)) for p in pair))
        for side in SIDES:
            milliseconds[side] += [1e3 * statistics.median(turns[side]) for turns in pair]
    memory: dict[Side, list[float]] = {side: [] for side in SIDES}
    for _ in range(MEMORY_RUNS):
        for side in SIDES:
            memory[side].append(in_fresh_process(memory_of_a_run, name, side, shape, threads))
    return {
        "name": name,
        "input": shape,
        "latency_ms": summary(milliseconds, ratios),
        "memory_mib": summary(memory, quotients(memory)),
    }


def quotients(samples: dict[Side, list[float]]) -> list[float]:
    return [o / t for o, t in zip(samples["ours"], samples["timm"], strict=True)]


def summary(samples: dict[Side, list[float]], ratios: list[float]) -> dict[str, Any]:
    return {
        **{side: round(statistics.median(values), 2) for side, values in samples.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def in_fresh_process(measure: Callable[..., Any], *arguments: object) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def build(name: str, side: Side) -> nn.Module:
    """The network with weights that depend on their names alone, so that both sides agree."""
    from converters.loud import loud_weights_
    from tests.oracles import timm

    model = create_model(name) if side == "ours" else timm.create_model(name)
    loud_weights_(model)
    return model.eval()


def latencies(
    name: str, order: tuple[Side, ...], shape: tuple[int, ...], threads: int, runs: int
) -> dict[Side, list[float]]:
    """Seconds of each turn, for networks built in the given order."""
    import torch

    torch.set_num_threads(threads)
    models = {side: build(name, side) for side in order}
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    seconds: dict[Side, list[float]] = {side: [] for side in SIDES}
    with torch.inference_mode():
        ours, timms = (models[side](x) for side in SIDES)
        if (ours - timms).abs().max() > 1e-4 * timms.abs().max():
            raise click.ClickException(f"{name} does not compute what timm's does")
        for turn in range(WARM_UPS + runs):
            for side in SIDES if turn % 2 else reversed(SIDES):
                start = time.perf_counter()
                models[side](x)
                seconds[side].append(time.perf_counter() - start)
    return {side: values[WARM_UPS:] for side, values in seconds.items()}


def memory_of_a_run(name: str, side: Side, shape: tuple[int, ...], threads: int) -> float:
    """The peak of a process's memory over what it held before the run, in MiB."""
    import torch

    # Every tensor of 64 KiB or more in pages of its own, returned when it dies: what is left of
    # the peak is what lives at one time, without the allocator's reserves.
    m_mmap_threshold = -3
    ctypes.CDLL(None).mallopt(m_mmap_threshold, 64 * 1024)

    torch.set_num_threads(threads)
    model = build(name, side)
    x = torch.randn(shape)
    with torch.inference_mode():
        model(x)  # loads the kernels, which stay
        reset_peak_memory()
        before = peak_memory_mib()
        model(x)
    return peak_memory_mib() - before


def table(rows: list[dict[str, Any]]) -> Table:
    view = Table(title="ours / timm, medians", box=box.SIMPLE)
    view.add_column("model", no_wrap=True)
    view.add_column("input")
    for heading in ("ms", "timm", "ratio", "MiB", "timm", "ratio"):
        view.add_column(heading, justify="right")
    for row in rows:
        cells = [row["name"], "x".join(map(str, row["input"]))]
        for what in ("latency_ms", "memory_mib"):
            ours, timms, ratio = (row[what][key] for key in ("ours", "timm", "ratio"))
            colour = "red" if ratio > MARGIN else "green"
            cells += [f"{ours:.1f}", f"{timms:.1f}", f"[{colour}]{ratio:.2f}[/]"]
        view.add_row(*cells)
    return view


if __name__ == "__main__":
    main()
