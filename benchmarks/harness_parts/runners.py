"""The native runners beside what the vendors' Python packages measure on this host.

LiteRT's runner stands beside the package's own `litert-benchmark`, ExecuTorch's beside its Python
runtime, each with the same file, threads, warm-up, number of runs and core. Both measure in fresh
processes that take turns, in which the one that has no turn is stopped (`turns`): processes that
follow each other differ by a tenth on this machine. A turn has room for many runs, and each pair
gets memory from elsewhere (`placement`): otherwise all pairs of a series may share one bias.

There is one metric, and it was chosen before it was measured: a process gives the median of its
runs, a pair gives the ratio of two processes, and the figure is the median over pairs of how much
more time the native runner takes, with its 95% bootstrap interval over pairs. The goal is met where
the whole interval lies within 3%, missed where all of it lies outside, and open in between.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from android_harness.building import build_bundle
from android_harness.bundles import Bundle
from android_harness.records import Options
from android_harness.runners.mvkit import MvkitRunner
from benchmarks.latency import a_photo, our_file

from .native import timed_job
from .part import Effort, Part
from .placement import pages_from_elsewhere
from .turns import TURN_S, Side, alone, take_turns

VENDORS = {"tflite": "litert-benchmark", "executorch": "Python runtime"}
WARMUP = 5
LEAST_RUNS = 8  # in a turn, of which one is stopped in the middle
GOAL = 3.0  # percent
METHOD = (
    "fp32, batch 1, one thread on one core; {pairs} pairs of fresh processes of which one is "
    "stopped while the other runs, {seconds:g} s of runs each, in other memory than the pair "
    "before; medians in ms; how much more the native runner takes, in percent: median over pairs "
    "and 95% bootstrap interval; goal: within 3%"
)


@dataclass(frozen=True)
class Setting:
    """What both sides have in common."""

    file: Path
    photo: Path  # raw
    core: int
    iterations: int


def measure(effort: Effort) -> Part:
    rows, pairs = [], []
    for model in effort.models:
        for target in VENDORS:
            print(f"{model} {target}", file=sys.stderr)
            found = _pairs_of(model, target, effort)
            names = {"model": model, "beside": VENDORS[target]}
            rows.append({**names, **summary(found)})
            pairs.append({**names, "ms": found})
    method = METHOD.format(pairs=effort.pairs, seconds=effort.seconds)
    return Part(method, rows, {"pairs": pairs})


def _pairs_of(model: str, target: str, effort: Effort) -> list[tuple[float, float]]:
    file, bundle = our_file(model, target, effort.cache), build_bundle(target, "host")
    vendors = {"tflite": _litert_benchmark, "executorch": _executorch_python}[target]
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.bin")
        a_photo(model).tofile(photo)
        core = max(os.sched_getaffinity(0))
        few = Setting(file.resolve(), photo, core, iterations=3)
        programs = (partial(_native, bundle), vendors)
        medians, starts = zip(*(alone(program(few)) for program in programs), strict=True)
        run_s = max(medians) / 1e3
        setting = replace(few, iterations=math.ceil(effort.seconds / run_s))
        one, other = (
            replace(program(setting), start_s=start)
            for program, start in zip(programs, starts, strict=True)
        )
        turn_s = max(TURN_S, LEAST_RUNS * run_s)
        rng, found = np.random.default_rng(0), []
        for _ in range(effort.pairs):
            with pages_from_elsewhere(rng):
                found.append(take_turns(one, other, turn_s))
        return found


def summary(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Medians over processes (ms), and how much more time the native runner takes (percent)."""
    more = [100 * (native / vendors - 1) for native, vendors in pairs]
    interval = stats.bootstrap(
        (more,), np.median, method="percentile", confidence_level=0.95, rng=0
    ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    return {
        "native_ms": statistics.median(native for native, _ in pairs),
        "vendors_ms": statistics.median(vendors for _, vendors in pairs),
        "more_percent": statistics.median(more),
        "lowest": low,
        "highest": high,
        "met": verdict(low, high),
    }


def verdict(low: float, high: float) -> str:
    """Whether an interval (percent) lies within the goal on both sides of nothing."""
    if low >= -GOAL and high <= GOAL:
        return "yes"
    return "no" if low > GOAL or high < -GOAL else "open"


def _native(bundle: Bundle, setting: Setting) -> Side:
    options = Options(
        cores=1 << setting.core, warmup=WARMUP, iterations=setting.iterations, min_seconds=0
    )
    runner = MvkitRunner(bundle.target)
    job = timed_job(setting.file, setting.photo, options)

    def median(output: str) -> float:
        return statistics.median(runner.read(output, "").timings.samples or ())

    return Side(runner.command(job), median, bundle.path.parent)


def _litert_benchmark(setting: Setting) -> Side:
    """It feeds random numbers; the time of a network does not depend on its input."""
    program = Path(sys.executable).with_name("litert-benchmark")
    result = setting.photo.with_name("result.json")
    command = [
        "taskset", f"{1 << setting.core:x}", str(program), f"--model={setting.file}",
        f"--num_runs={setting.iterations}", f"--warmup_runs={WARMUP}", "--num_threads=1",
        f"--result_json={result}",
    ]  # fmt: skip

    def median(_: str) -> float:
        return float(json.loads(result.read_text(encoding="utf-8"))["latency"]["median_ms"])

    return Side(command, median)


def _executorch_python(setting: Setting) -> Side:
    module = "benchmarks.harness_parts.executorch_python"
    numbers = map(str, (setting.core, WARMUP, setting.iterations))
    command = [sys.executable, "-m", module, str(setting.file), str(setting.photo), *numbers]
    return Side(command, float)
