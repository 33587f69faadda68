"""The native runners beside what the vendors' Python packages measure on this host.

LiteRT's runner stands beside the package's own `litert-benchmark`, ExecuTorch's beside its Python
runtime, each with the same file, threads, warm-up, number of runs and core. Both measure in fresh
processes; the two of a pair follow each other at once, and each goes first in turn.

There is one metric, and it was chosen before it was measured: a process gives the median of its
runs, a pair gives the ratio of two processes, and the figure is the median over pairs of how much
more time the native runner takes, with its 95% bootstrap interval over pairs. The goal is met where
the whole interval lies within 3%, missed where all of it lies outside, and open in between.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from android_harness.building import build_bundle
from android_harness.bundles import Bundle
from android_harness.records import Options
from benchmarks.latency import a_photo, our_file
from benchmarks.process import in_fresh_process
from converters import vendor_output

from .native import native_samples
from .part import Effort, Part

VENDORS = {"tflite": "litert-benchmark", "executorch": "Python runtime"}
WARMUP = 5
GOAL = 3.0  # percent
METHOD = (
    "fp32, batch 1, one thread on one core; {pairs} pairs of fresh processes that take turns, "
    "{iterations} runs each; medians in ms; how much more the native runner takes, in percent: "
    "median over pairs and 95% bootstrap interval; goal: within 3%"
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
    method = METHOD.format(pairs=effort.pairs, iterations=effort.iterations)
    return Part(method, rows, {"pairs": pairs})


def _pairs_of(model: str, target: str, effort: Effort) -> list[tuple[float, float]]:
    file, bundle = our_file(model, target, effort.cache), build_bundle(target, "host")
    vendors = {"tflite": _litert_benchmark, "executorch": _executorch_python}[target]
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.bin")
        a_photo(model).tofile(photo)
        core = max(os.sched_getaffinity(0))
        setting = Setting(file.resolve(), photo, core, effort.iterations)
        return in_turns(lambda: _native(bundle, setting), lambda: vendors(setting), effort.pairs)


def in_turns(
    native: Callable[[], float], vendors: Callable[[], float], pairs: int
) -> list[tuple[float, float]]:
    """The results of both in each pair, the native runner's first; each is run first in turn."""
    found = []
    for number in range(pairs):
        if number % 2:
            second, first = vendors(), native()
        else:
            first, second = native(), vendors()
        found.append((first, second))
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


def _native(bundle: Bundle, setting: Setting) -> float:
    options = Options(
        cores=1 << setting.core, warmup=WARMUP, iterations=setting.iterations, min_seconds=0
    )
    return statistics.median(native_samples(bundle, setting.file, setting.photo, options))


def _litert_benchmark(setting: Setting) -> float:
    """It feeds random numbers; the time of a network does not depend on its input."""
    program = Path(sys.executable).with_name("litert-benchmark")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [
            "taskset", f"{1 << setting.core:x}", str(program), f"--model={setting.file}",
            f"--num_runs={setting.iterations}", f"--warmup_runs={WARMUP}", "--num_threads=1",
            f"--result_json={result}",
        ]  # fmt: skip
        subprocess.run(command, capture_output=True, check=True)
        latency = json.loads(result.read_text(encoding="utf-8"))["latency"]
    return float(latency["median_ms"])


def _executorch_python(setting: Setting) -> float:
    return in_fresh_process(_executorch_runs, setting)


def _executorch_runs(setting: Setting) -> float:
    import torch
    from executorch.extension.pybindings import _C

    os.sched_setaffinity(0, [setting.core])  # before a runtime starts its threads
    torch.set_num_threads(1)
    with vendor_output.silenced():
        _C._unsafe_reset_threadpool(1)
        loaded = _C._load_program(
            str(setting.file),
            enable_etdump=False,
            debug_buffer_size=0,
            program_verification=_C.Verification.InternalConsistency,
        )
        method = loaded.load_method("forward")
    shape = method.method_meta().input_tensor_meta(0).sizes()
    given = [torch.from_numpy(np.fromfile(setting.photo, np.float32).reshape(shape))]
    times = []
    for _ in range(WARMUP + setting.iterations):
        begin = time.perf_counter()
        method.call(given, clone_outputs=False)
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times[WARMUP:])
