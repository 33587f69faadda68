"""The store with a million samples, and how often `compare` errs.

    python -m benchmarks.harness_store mvkit-out/mobilevit_xs-fp32.tflite

First the file is measured in many fresh processes, one after another: how much their medians differ
is the noise of this machine. Trials then draw two sets of repeats from this noise, or from a
distribution with as large a spread, and compare them: a false alarm is a difference that is shown
between two sets of one distribution, a find is a slowdown of 5% that is shown. Last, a store is
filled with a million samples, listed and compared.

Latencies are of this host. `--noise` takes the noise of an earlier run of this benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from android_harness.compare import compare, ratio_of_medians
from android_harness.records import (
    Conditions,
    DeviceInfo,
    Measurement,
    Options,
    Repeat,
    Subject,
    Timings,
)
from android_harness.stats import relative_spread
from android_harness.store import Store, open_store, parse_selector
from benchmarks import report
from benchmarks.process import in_fresh_process

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOOLS = ("numpy", "sqlalchemy", "ai-edge-litert")
TRIALS = 1000
SLOWDOWN = 1.05
ITERATIONS, SECONDS, WARM_UPS = 50, 1.0, 5  # of a repeat, as `mvkit bench` measures by default
RUNS, REPEATS = 4000, 5  # a million samples with 50 in a repeat

Draw = Callable[[np.random.Generator, int], "NDArray[np.float64]"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="a .tflite file with one float32 input")
    parser.add_argument("--processes", type=int, default=40)
    parser.add_argument("--noise", action="store_true", help="take the noise of the last run")
    options = parser.parse_args()
    if options.noise:
        kept = json.loads((report.RESULTS / "harness_store.json").read_text(encoding="utf-8"))
        noise = kept["noise"]
    else:
        noise = measure_noise(options.file, options.processes)
    medians = noise["medians_ms"]
    print(f"noise: spread {relative_spread(medians):.2%} of {len(medians)} processes, {noise}")
    rows = [*trial_rows(medians)]
    store = store_rows()
    report.show("a store with a million samples", store)
    report.publish(
        "harness_store",
        f"{TRIALS} trials a row; false alarms and a slowdown of 5% found, in percent",
        TOOLS,
        rows,
        noise=noise,
        store=store,
    )


def measure_noise(file: Path, processes: int) -> dict[str, Any]:
    medians = []
    before = os.getloadavg()[0]
    for index in range(processes):
        medians.append(in_fresh_process(_median, str(file)))
        print(f"{index + 1} of {processes}: {medians[-1]:.2f} ms", file=sys.stderr)
    return {
        "file": file.name,
        "medians_ms": medians,
        "spread": relative_spread(medians),
        "load_average": [before, os.getloadavg()[0]],
    }


def _median(file: str) -> float:
    """One repeat: a loaded file, warmed up, with one thread (ms)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=file, num_threads=1)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    photo = np.random.default_rng(0).random(given["shape"], np.float32)
    interpreter.set_tensor(given["index"], photo)
    for _ in range(WARM_UPS):
        interpreter.invoke()
    times: list[float] = []
    while len(times) < ITERATIONS or sum(times) < SECONDS:
        start = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def trial_rows(medians: list[float]) -> Iterator[dict[str, Any]]:
    measured = np.log(medians) - np.log(np.median(medians))
    spread = float(np.std(measured, ddof=1))
    draws: dict[str, tuple[Draw, float, tuple[int, ...]]] = {
        "as measured": (lambda rng, n: rng.choice(measured, n), spread, (5, 10)),
        "normal": (lambda rng, n: rng.normal(0, 0.015, n), 0.015, (3, 4, 5, 6, 10)),
        "normal, wider": (lambda rng, n: rng.normal(0, 0.03, n), 0.03, (5,)),
        "heavy tails (t, 3)": (_heavy, 0.015, (5,)),
        "skewed (exponential)": (_skewed, 0.015, (5,)),
        "two modes": (_two_modes, 0.015, (5,)),
    }
    for name, (draw, standard_deviation, sizes) in draws.items():
        for repeats in sizes:
            yield {
                "noise": name,
                "spread_percent": 100 * standard_deviation,
                "repeats": repeats,
                "false_alarms_percent": _shown(draw, repeats, repeats, 1.0),
                "found_percent": _shown(draw, repeats, repeats, SLOWDOWN),
                "false_alarms_beside_twice_as_many_percent": _shown(
                    draw, repeats, 2 * repeats, 1.0
                ),
            }


def _heavy(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return 0.015 * rng.standard_t(3, n) / np.sqrt(3)


def _skewed(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return 0.015 * rng.exponential(1, n)


def _two_modes(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return 0.0147 * rng.choice([-1, 1], n) + rng.normal(0, 0.003, n)


def _shown(draw: Draw, of_a: int, of_b: int, factor: float) -> float:
    """How often a difference is shown, in percent; with a slowdown, the slowdown alone."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(TRIALS):
        a, b = np.exp(draw(rng, of_a)), factor * np.exp(draw(rng, of_b))
        _, (low, high) = ratio_of_medians([*a], [*b])
        found += low > 1 or (high < 1 and factor == 1)
    return 100 * found / TRIALS


def store_rows() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.sqlite"
        rng = np.random.default_rng(0)
        with open_store(path, create=True) as store:
            for index in range(RUNS):
                store.save(_measurement(rng, index))
            repeat_saved = _timed(lambda: store.save(_measurement(rng, RUNS)), 20)
            rows = [
                {"what": "save a run", "seconds": repeat_saved},
                {"what": "list all 4,000 runs", "seconds": _timed(lambda: store.select(), 5)},
                {"what": "compare two runs", "seconds": _timed(lambda: _compare(store), 5)},
            ]
        for args in (
            ["runs"],
            ["runs", "--limit", "5000", "--json"],
            ["compare", "latest~40", "latest"],
        ):
            seconds = _timed(lambda args=args: _command(*args, "--store", str(path)), 5)
            rows.append({"what": f"mvkit {' '.join(args)}", "seconds": seconds})
        rows.append({"what": "MB on disk", "seconds": path.stat().st_size / 1e6})
    return rows


def _compare(store: Store) -> None:
    ids = [store.select([parse_selector(one)])[0].identity for one in ("latest~40", "latest")]
    compare(*store.load(ids))


def _command(*args: str) -> None:
    command = [str(Path(sys.executable).with_name("mvkit")), *args]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _timed(work: Callable[[], Any], times: int) -> float:
    """The median of several runs, in seconds."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def _measurement(rng: np.random.Generator, index: int) -> Measurement:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=index)
    conditions = Conditions(moment, 0, {"skin": 31.5}, 80, 29.0, False, True)
    return Measurement(
        identity=str(uuid.UUID(bytes=rng.bytes(16), version=4)),
        created=moment,
        subject=Subject(f"model{index % 10}", "ab" * 32, "tflite", "fp32", ("1x3 float32",)),
        device=DeviceInfo(f"R5CT{index % 8}", "adb", "Pixel 8", os="Android 14 (API 34)"),
        options=Options(),
        labels={"branch": "main", "commit": f"{index:07x}"},
        repeats=tuple(
            Repeat(
                number,
                Timings(5.0, None, 12.0, (11.0,) * 5, tuple(rng.lognormal(2, 0.02, ITERATIONS))),
                conditions,
                conditions,
            )
            for number in range(REPEATS)
        ),
        validity="valid",
    )


if __name__ == "__main__":
    main()
