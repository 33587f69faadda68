"""`--runner`: which program measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converters.errors import UsageError, one_line

from .base import Runner
from .benchmark_model import BenchmarkModel
from .executor_runner import ExecutorRunner
from .mvkit import MvkitRunner

if TYPE_CHECKING:
    from converters.manifest import Manifest

_TARGETS = ("tflite", "executorch")


def choose_runner(text: str, manifest: Manifest) -> Runner:
    """`mvkit`, `benchmark_model=PATH` or `executor_runner=PATH`, for the file of a manifest.

    PATH is a program here, which is pushed, or one on the device. Raises UsageError for anything
    else, and for a file that the program does not run.
    """
    target = manifest.target
    if target not in _TARGETS:
        raise UsageError(
            f"{manifest.file.name}: no runner for {target} files",
            f"those of {' and '.join(_TARGETS)} are measured",
        )
    name, given, program = text.partition("=")
    if name == "mvkit" and not given:
        return MvkitRunner(target)
    if name in ("benchmark_model", "executor_runner") and not program:
        raise UsageError(f"--runner {name}: say where it is, as in {name}=/data/local/tmp/{name}")
    if name == "benchmark_model" and target == "tflite":
        return BenchmarkModel(program, manifest.inputs, len(manifest.outputs))
    if name == "executor_runner" and target == "executorch":
        return ExecutorRunner(program)
    if name in ("benchmark_model", "executor_runner"):
        raise UsageError(f"--runner {name}: does not run {target} files")
    raise UsageError(
        f"--runner {one_line(text, 60)}: unknown",
        "one of mvkit, benchmark_model=PATH, executor_runner=PATH",
    )
