"""`benchmark_model`, of which there are two: TFLite's and LiteRT's.

They have flags in common and others that each only warns of when they are the other's, so that the
command line is for both. What they print tells them apart. Neither gives single iterations, so
`samples` is None; `summary` holds what was printed, under its own names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from converters.errors import UsageError, one_line

from ..records import Timings
from .base import Job, Report
from .figures import NUMBER, figure, positive, refuse, whole_lines
from .official import local_program, pinned
from .protocol import check_size

if TYPE_CHECKING:
    from converters.manifest import TensorSpec

_BACKENDS = {
    "xnnpack": ["--use_xnnpack=true", "--use_cpu=true"],
    "gpu": ["--use_gpu=true"],
    "npu": ["--use_npu=true"],
}
_US_PER_MS = 1e3
_STATISTIC = re.compile(r"(first|curr|min|max|avg|std|p5|median|p95)=(\S+)")
_COUNT = re.compile(r"\bcount=([0-9]{1,18})\b([^\n]*)")
_INIT = re.compile(r"Inference timings in us: Init: ([^\s,]+)(?:, First inference: ([^\s,]+))?")
_PEAK = re.compile(r"Overall peak memory footprint \(MB\) via periodic monitoring: (\S+)")
_REPLACED = re.compile(
    r"Replacing ([0-9]+)(?: out of ([0-9]+))? node\(s\) with delegate \(([^)\n]+)\)"
)
_APPLIED = re.compile(
    r"Explicitly applied (.+?) delegate, and the model graph will be (completely|partially)"
)
_LITERT = re.compile(r"={5,} BENCHMARK RESULTS ={5,}")
_LITERT_FIGURES = {
    "init": re.compile(rf"Model initialization: +{NUMBER} ms"),
    "warmup_first": re.compile(rf"Warmup \(first\): +{NUMBER} ms"),
    "warmup_avg": re.compile(rf"Warmup \(avg\): +{NUMBER} ms"),
    "avg": re.compile(rf"Inference \(avg\): +{NUMBER} ms"),
    "min": re.compile(rf"Inference \(min\): +{NUMBER} ms"),
    "max": re.compile(rf"Inference \(max\): +{NUMBER} ms"),
    "std": re.compile(rf"Inference \(std\): +{NUMBER}"),
}
_LITERT_PEAK = re.compile(rf"Peak memory: +{NUMBER} MB")


@dataclass(frozen=True)
class BenchmarkModel:
    """A program at `program`: a file here that is pushed, or else a path on the device.

    `inputs` are the manifest's, for their shapes.
    """

    program: str
    inputs: tuple[TensorSpec, ...]
    outputs: int

    @property
    def name(self) -> str:
        return "benchmark_model"

    def files(self, abis: Sequence[str]) -> Path | None:
        return local_program(self.program)

    def command(self, job: Job) -> list[str]:
        options = job.options
        if options.backend not in _BACKENDS:
            raise UsageError(f"--backend {options.backend}: benchmark_model has xnnpack, gpu, npu")
        if job.profile:
            raise UsageError("--profile is not read from benchmark_model; use --runner mvkit")
        return [
            *pinned(options.cores, self.program),
            f"--graph={job.model}",
            *_BACKENDS[options.backend],
            f"--num_threads={options.threads}",
            f"--warmup_runs={options.warmup}",
            "--warmup_min_secs=0",
            f"--num_runs={options.iterations}",
            f"--min_secs={options.min_seconds:g}",
            *self._inputs(job),
            *self._outputs(job),
            *["--report_peak_memory_footprint=true"] * job.memory,
        ]

    def _inputs(self, job: Job) -> list[str]:
        """The files are taken by their order; a name that is not the tensor's brings a warning."""
        if not job.inputs:
            return []
        names = [f"input{i}" for i in range(len(job.inputs))]
        shapes = [",".join(map(str, one.shape)) for one in self.inputs]
        files = [f"{name}:{file}" for name, file in zip(names, job.inputs, strict=True)]
        return [
            f"--input_layer={','.join(names)}",
            f"--input_layer_shape={':'.join(shapes)}",
            f"--input_layer_value_files={','.join(files)}",
        ]

    def _outputs(self, job: Job) -> list[str]:
        if job.outputs is None:
            return []
        if self.outputs != 1:
            raise UsageError(
                "benchmark_model joins several outputs in one file",
                "check this file's outputs with --runner mvkit",
            )
        return [f"--output_filepath={job.outputs}-0.bin"]

    def read(self, output: str, errors: str) -> Report:
        check_size(output, errors)
        text = whole_lines(output, errors)
        if "Benchmarking failed" in text:
            refuse(self.name, f"it failed: {_reason(text)}")
        statistics = _statistics(text)
        return Report(
            _litert(text, statistics) if _LITERT.search(text) else _tflite(text, statistics)
        )


def _reason(text: str) -> str:
    errors = [line for line in text.split("\n") if line.startswith("ERROR")]
    return one_line(errors[0]) if errors else "it does not say why"


def _statistics(text: str) -> dict[str, float]:
    """The last line of statistics (those before are of the warm-up), in ms."""
    lines = _COUNT.findall(text)
    if not lines:
        refuse("benchmark_model", "it holds no statistics")
    count, rest = lines[-1]
    if int(count) == 0:
        refuse("benchmark_model", "it timed no iteration")
    found = {
        name: (figure if name == "std" else positive)(value, name, "benchmark_model") / _US_PER_MS
        for name, value in _STATISTIC.findall(rest.replace("(all same)", " (all same)"))
    }
    if "(all same)" in rest or (int(count) == 1 and set(found) == {"curr"}):
        found |= dict.fromkeys(("min", "max", "avg", "median"), found.get("curr", 0.0))
    if (
        not {"avg", "min", "max"} <= found.keys()
        or not found["min"] <= found["avg"] <= found["max"]
    ):
        refuse("benchmark_model", "its statistics are not whole")
    return found


def _tflite(text: str, statistics: dict[str, float]) -> Timings:
    timing = _INIT.search(text)
    if timing is None:
        refuse("benchmark_model", "it ends before its summary")
    init, first = timing.groups()
    peak = _PEAK.search(text)
    return Timings(
        first=positive(first, "first inference", "benchmark_model") / _US_PER_MS if first else None,
        summary=statistics | {"init": positive(init, "init", "benchmark_model") / _US_PER_MS},
        delegate=_delegate(text),
        peak_memory=positive(peak[1], "peak memory", "benchmark_model") if peak else None,
    )


def _litert(text: str, statistics: dict[str, float]) -> Timings:
    found = {
        name: figure(match[1], name, "benchmark_model")
        for name, pattern in _LITERT_FIGURES.items()
        if (match := pattern.search(text))
    }
    if not _LITERT_FIGURES.keys() <= found.keys():
        refuse("benchmark_model", "it ends before its summary")
    first = found.pop("warmup_first")
    peak = _LITERT_PEAK.search(text)
    # The line of statistics has more digits than the summary, and percentiles.
    return Timings(
        first=first or None,  # 0.00 where nothing was warmed up
        summary=found | statistics,
        delegate=_delegate(text),
        peak_memory=positive(peak[1], "peak memory", "benchmark_model") if peak else None,
    )


def _delegate(text: str) -> str | None:
    """The delegates by name, with "(in part)" for one that does not run all of the model."""
    applied = _APPLIED.search(text)
    if applied is not None:
        return one_line(applied[1]) + (" (in part)" if applied[2] == "partially" else "")
    names = []
    for replaced, nodes, name in _REPLACED.findall(text):
        # Older builds do not say of how many.
        names.append(one_line(name) + (" (in part)" if nodes and nodes != replaced else ""))
    return ", ".join(dict.fromkeys(names)) or None
