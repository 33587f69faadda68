"""The harness's native runners beside what the vendors' Python packages measure on this host.

    python -m benchmarks.harness_runners
    python -m benchmarks.harness_runners --models mobilevit_xs --pairs 3 --draft

LiteRT's runner stands beside the package's own `litert-benchmark`, ExecuTorch's beside its Python
runtime, each with the same file, threads, iterations and core. Both measure in a fresh process; the
two of a pair follow each other at once, each going first in turn, and a pair gives one ratio.
Besides medians the 5th percentiles are compared: what is left of a run when other work on the
machine did not interrupt it. The target is a ratio within 3% of 1. `--draft` writes nothing.
"""

from __future__ import annotations

import argparse
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
from android_harness.runners.base import Job
from android_harness.runners.mvkit import MvkitRunner
from benchmarks import report
from benchmarks.latency import CACHE, a_photo, our_file
from benchmarks.process import in_fresh_process
from converters import vendor_output

TOOLS = ("ai-edge-litert", "executorch", "torch")
MODELS = ("efficientvit_m0", "edgenext_xx_small", "mobilevit_xs")
VENDORS = {"tflite": "litert-benchmark", "executorch": "Python runtime"}
WARMUP = 5
METHOD = (
    "ms of one run, fp32, batch 1, one thread on one core; the vendor's tool and the native runner "
    "in fresh processes that take turns; ratio = native / vendor's, of medians and of 5th "
    "percentiles, each the median over pairs with its 95% bootstrap interval"
)


@dataclass(frozen=True)
class Times:
    """One process (ms)."""

    median: float
    p5: float  # the 5th percentile


@dataclass(frozen=True)
class Setting:
    """What both sides have in common."""

    file: Path
    photo: Path  # raw
    core: int
    iterations: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME")
    parser.add_argument("--targets", nargs="+", default=[*VENDORS], choices=VENDORS)
    parser.add_argument("--pairs", type=int, default=10, help="of processes, at least 2")
    parser.add_argument("--iterations", type=int, default=200, help="in a process")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for converted files")
    parser.add_argument("--draft", action="store_true", help="write nothing")
    options = parser.parse_args()
    rows = []
    for model in options.models:
        for target in options.targets:
            print(f"{model} {target}", file=sys.stderr)
            file = our_file(model, target, options.cache)
            rows.append(measure_file(model, target, file, options.pairs, options.iterations))
    report.show(METHOD, [_cells(row) for row in rows])
    if not options.draft:
        report.write("harness_runners", METHOD, TOOLS, rows)


def measure_file(
    model: str, target: str, file: Path, pairs: int, iterations: int
) -> dict[str, Any]:
    bundle = build_bundle(target, "host")
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.bin")
        a_photo(model).tofile(photo)
        core = max(os.sched_getaffinity(0))
        setting = Setting(file.resolve(), photo, core, iterations)
        vendors = {"tflite": _litert_benchmark, "executorch": _executorch_python}[target]
        times = in_turns([lambda: _native(bundle, setting), lambda: vendors(setting)], pairs)
    return {
        "model": model,
        "target": target,
        "beside": VENDORS[target],
        **summary(*zip(*times, strict=True)),
        "pairs": [[vars(one) for one in pair] for pair in times],
    }


def in_turns(measure: Sequence[Callable[[], Times]], pairs: int) -> list[list[Times]]:
    """The results of both in each pair, in the order of `measure`; each goes first in turn."""
    found = []
    for i in range(pairs):
        order = [0, 1] if i % 2 == 0 else [1, 0]
        pair = {place: measure[place]() for place in order}
        found.append([pair[0], pair[1]])
    return found


def summary(native: Sequence[Times], vendors: Sequence[Times]) -> dict[str, Any]:
    """Medians over processes, and the ratios of the native runner to the vendor's tool."""
    return {
        "native_ms": statistics.median(one.median for one in native),
        "vendors_ms": statistics.median(one.median for one in vendors),
        "of_medians": ratio([one.median for one in native], [one.median for one in vendors]),
        "of_p5": ratio([one.p5 for one in native], [one.p5 for one in vendors]),
    }


def ratio(native: Sequence[float], vendors: Sequence[float]) -> dict[str, float]:
    """The median of the pairs' ratios, with the percentile bootstrap's interval over pairs."""
    ratios = [a / b for a, b in zip(native, vendors, strict=True)]
    interval = stats.bootstrap(
        (ratios,), np.median, method="percentile", confidence_level=0.95, rng=0
    ).confidence_interval
    return {
        "median": statistics.median(ratios),
        "low": float(interval.low),
        "high": float(interval.high),
    }


def _times(samples: Sequence[float]) -> Times:
    return Times(statistics.median(samples), float(np.percentile(samples, 5)))


def _native(bundle: Bundle, setting: Setting) -> Times:
    runner = MvkitRunner(bundle.target)
    job = Job(
        str(setting.file),
        (str(setting.photo),),
        None,
        Options(
            cores=1 << setting.core, warmup=WARMUP, iterations=setting.iterations, min_seconds=0
        ),
    )
    done = subprocess.run(
        runner.command(job),
        cwd=bundle.path.parent,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    samples = runner.read(done.stdout, done.stderr).timings.samples
    assert samples is not None
    return _times(samples)


def _litert_benchmark(setting: Setting) -> Times:
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
    return Times(latency["median_ms"], latency["p5_ms"])


def _executorch_python(setting: Setting) -> Times:
    return in_fresh_process(_executorch_runs, setting)


def _executorch_runs(setting: Setting) -> Times:
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
    return _times(times[WARMUP:])


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": row["model"],
        "beside": row["beside"],
        "native_ms": row["native_ms"],
        "vendors_ms": row["vendors_ms"],
        **{
            name: "{median:.3f} ({low:.3f} to {high:.3f})".format(**row[name])
            for name in ("of_medians", "of_p5")
        },
    }


if __name__ == "__main__":
    main()
