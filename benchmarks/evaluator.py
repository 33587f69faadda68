"""The MIL evaluator's time beside torch eager, for the kit's networks as CoreML packages in fp32.

    python -m benchmarks.evaluator [--models NAME ...] [--threads 1] [--runs 30]

Each network is converted in one process and measured in another, where evaluator and network take
turns on the same input, so that a busy machine slows both: the ratio is the median over the
turns. Loading counts what a first use in a process does besides importing torch: the import of
the evaluator, the protobuf classes, the package, the binding of all operators; nothing takes turns
with it, so that it is given in seconds of the processor, the least of three fresh processes.
Weights are read by the first run, which is timed by itself. The error is the largest difference to
the network's output over its largest magnitude.

Writes `benchmarks/results/evaluator.json` and ends with status 1 if a figure is over its bound.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.report import publish
from mobilevit_kit.models import list_models

MAX_RATIO = 2.5
MAX_LOAD_S = 0.5
MAX_ERROR = 1e-5
WARM_UPS = 3
LOADS = 3
TOOLS = ("torch", "coremltools")


def in_fresh_process(function: Callable[..., Any], *arguments: object) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def convert_one(model: str, folder: str) -> Path:
    """The package of a network with the weights that it has by default."""
    from converters import convert
    from mobilevit_kit.source import SourceRequest, build_source

    source = build_source(SourceRequest(model))
    artifact = convert(
        source.module, source.examples, "coreml", output_dir=folder, photos=source.photos,
        preprocessing=source.preprocessing, verify=False, time_on_host=False,
    )  # fmt: skip
    return artifact.path


def load_seconds(package: Path) -> float:
    """Processor time, in a process that has imported torch and nothing of the evaluator."""
    import torch  # noqa: F401

    start = time.process_time()
    from converters.runtimes.mil import Evaluator

    Evaluator(package)
    return time.process_time() - start


def measure(model: str, package: Path, threads: int, runs: int) -> dict[str, Any]:
    """One row, without the time to load; milliseconds are medians."""
    import torch

    torch.set_num_threads(threads)
    from converters.runtimes.mil import Evaluator
    from mobilevit_kit.source import SourceRequest, build_source

    evaluator = Evaluator(package)
    source = build_source(SourceRequest(model))
    network = source.module.eval()
    (image,) = source.examples
    inputs = {evaluator.inputs[0].name: image.numpy()}
    with torch.inference_mode():
        start = time.perf_counter()
        (output,) = evaluator.run(inputs).values()
        first = time.perf_counter() - start
        wanted = network(image).numpy()
        turns = [
            (seconds(lambda: network(image)), seconds(lambda: evaluator.run(inputs)))
            for _ in range(WARM_UPS + runs)
        ][WARM_UPS:]
    return {
        "model": model,
        "operators": sum(n for name, n in evaluator.operators.items() if name != "const"),
        "eager_ms": 1e3 * statistics.median(eager for eager, _ in turns),
        "evaluator_ms": 1e3 * statistics.median(ours for _, ours in turns),
        "ratio": statistics.median(ours / eager for eager, ours in turns),
        "first_run_ms": 1e3 * first,
        "relative_error": float(abs(output - wanted).max() / abs(wanted).max()),
    }


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list_models())
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=30)
    arguments = parser.parse_args()
    rows = []
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            package = in_fresh_process(convert_one, model, folder)
            row = in_fresh_process(measure, model, package, arguments.threads, arguments.runs)
            load = min(in_fresh_process(load_seconds, package) for _ in range(LOADS))
            rows.append(row | {"load_cpu_s": load})
        # After each model: what was measured is not lost when the run is stopped.
        publish(
            "evaluator",
            f"MIL evaluator (storage mode) beside torch eager, {arguments.threads} thread(s), "
            f"medians of {arguments.runs} interleaved runs",
            TOOLS,
            rows,
        )
    if any(
        row["ratio"] > MAX_RATIO
        or row["load_cpu_s"] > MAX_LOAD_S
        or row["relative_error"] > MAX_ERROR
        for row in rows
    ):
        sys.exit(1)


if __name__ == "__main__":
    main()
