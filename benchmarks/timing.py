"""Latencies of saved files that take turns in one process, and what several processes say of them.

A process holds all files that are compared, so that each moment of a busy machine slows them alike,
and a ratio is taken within each round of turns: a neighbour changes the machine's speed within
tenths of a second. The luck of memory layout lasts for a whole process: there are several, and each
loads the files in another order. With fewer threads than cores a process stays on as many cores,
each on the next.
"""

from __future__ import annotations

import gc
import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from benchmarks.process import in_fresh_process
from converters import vendor_output

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

# A turn is long beside what the file before it left in the caches, and short beside what changes
# on a busy machine: one file beside itself has ratios whose standard deviation over processes is
# 0.6 to 1.0% with turns of 20 ms, 2.3% with 50 ms, and 11% where processes follow each other.
TURN_S = 0.02
LEAST_RUNS = 2
LEAST_ROUNDS = 6
WARM_UPS = 3


@dataclass(frozen=True)
class Subject:
    """A file with one input and one output, and the array that it is run on."""

    file: Path
    given: NDArray[np.float32]


@dataclass(frozen=True)
class Times:
    """One file in one process: medians over all timed runs, in ms.

    `processor_ms` is the processor's time, of all threads; where strangers take turns on the
    machine, it is nearer than `wall_ms` to what one thread would need alone. `turns_ms` are the
    medians of each turn, by wall time.
    """

    wall_ms: float
    processor_ms: float
    turns_ms: tuple[float, ...]


@dataclass(frozen=True)
class Ratio:
    """How many times longer one file takes than another, with a 95% interval, by wall time.

    `processes` are the ratios of single processes. `processor` is the ratio by processor time,
    without interval.
    """

    median: float
    low: float
    high: float
    processor: float
    processes: tuple[float, ...]


def compare(slow: Sequence[Times], fast: Sequence[Times]) -> Ratio:
    """Over processes, at least two, that each measured both: the median of their ratios.

    A process's ratio is the median over its rounds. The interval is the percentile bootstrap of the
    median over processes (Efron, 1979). Processes are drawn, not runs, since the runs of one share
    its luck; with five it is the range of their ratios.
    """
    walls = [within_rounds(s, f) for s, f in zip(slow, fast, strict=True)]
    interval = stats.bootstrap(
        (walls,), np.median, method="percentile", confidence_level=0.95, rng=0
    ).confidence_interval
    return Ratio(
        statistics.median(walls),
        float(interval.low),
        float(interval.high),
        statistics.median(s.processor_ms / f.processor_ms for s, f in zip(slow, fast, strict=True)),
        tuple(walls),
    )


def within_rounds(slow: Times, fast: Times) -> float:
    """How many times longer one file takes than another in the same process."""
    return statistics.median(s / f for s, f in zip(slow.turns_ms, fast.turns_ms, strict=True))


def measure(
    target: str, subjects: Mapping[str, Subject], *, threads: int, seconds: float, processes: int
) -> list[dict[str, Times]]:
    """The times of all subjects in each of several fresh processes, one after another.

    Each process has as many rounds as fit in so many seconds, and LEAST_ROUNDS. Raises ValueError
    for a file that the target's runtime does not hand to XNNPACK.
    """
    return [
        in_fresh_process(_take_turns, target, dict(subjects), threads, seconds, index)
        for index in range(processes)
    ]


def outputs(target: str, subjects: Mapping[str, Subject]) -> dict[str, NDArray[np.float32]]:
    """What each file gives, from one run in a process of their own."""
    return in_fresh_process(_run_once, target, dict(subjects))


class _Loaded(Protocol):
    """A file in its runtime, with its input in place."""

    def fill(self) -> None:
        """Puts the input in place again, where a run may have overwritten it."""

    def run(self) -> None: ...
    def output(self) -> NDArray[np.float32]: ...


class _Tflite:
    def __init__(self, subject: Subject, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._given = subject.given
        self._interpreter = Interpreter(model_path=str(subject.file), num_threads=threads)
        self._interpreter.allocate_tensors()
        plan = self._interpreter._interpreter  # the public list leaves delegates out
        if "DELEGATE" not in (plan.NodeName(i) for i in range(plan.NumNodes())):
            raise ValueError(f"{subject.file}: the interpreter gives XNNPACK nothing of it")
        (self._input,) = (one["index"] for one in self._interpreter.get_input_details())
        (self._output,) = (one["index"] for one in self._interpreter.get_output_details())

    def fill(self) -> None:
        self._interpreter.set_tensor(self._input, self._given)

    def run(self) -> None:
        self._interpreter.invoke()

    def output(self) -> NDArray[np.float32]:
        result: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return result


class _Executorch:
    """The threads are those of executorch's pool, which `_load` sizes once for all files."""

    def __init__(self, subject: Subject) -> None:
        import torch
        from executorch.extension.pybindings import _C

        from converters.formats import xnnpack
        from converters.formats.pte import read_pte

        delegates = read_pte(subject.file).method().delegates
        if xnnpack.BACKEND not in {delegate.backend for delegate in delegates}:
            raise ValueError(f"{subject.file}: it has no part for XNNPACK")
        loaded = _C._load_program(
            str(subject.file),
            enable_etdump=False,
            debug_buffer_size=0,
            program_verification=_C.Verification.InternalConsistency,
        )
        self._method = loaded.load_method("forward")
        self._given = [torch.from_numpy(subject.given)]
        self._results: Any = None

    def fill(self) -> None:
        """Nothing: the runtime reads the array itself and writes elsewhere."""

    def run(self) -> None:
        self._results = self._method.call(self._given, clone_outputs=False)

    def output(self) -> NDArray[np.float32]:
        result: NDArray[np.float32] = self._results[0].numpy().copy()
        return result


def _load(target: str, subjects: Mapping[str, Subject], threads: int) -> dict[str, _Loaded]:
    if target == "tflite":
        return {name: _Tflite(one, threads) for name, one in subjects.items()}
    import torch
    from executorch.extension.pybindings import _C

    torch.set_num_threads(1)  # its own threads would spin beside those of the runtime
    _C._unsafe_reset_threadpool(threads)
    return {name: _Executorch(one) for name, one in subjects.items()}


def _run_once(target: str, subjects: Mapping[str, Subject]) -> dict[str, NDArray[np.float32]]:
    found = {}
    with vendor_output.silenced():
        for name, loaded in _load(target, subjects, threads=1).items():
            loaded.fill()
            loaded.run()
            found[name] = loaded.output()
    return found


def _take_turns(
    target: str, subjects: Mapping[str, Subject], threads: int, seconds: float, index: int
) -> dict[str, Times]:
    """The measuring process of this index: rounds in which each file has a turn of several runs.

    The first run of a turn is not counted: it finds the caches full of another file's weights.
    """
    if hasattr(os, "sched_setaffinity"):  # Linux; before a runtime starts its threads
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, rotated(cores, index)[:threads])
    names = rotated(list(subjects), index)
    turns: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in names}
    with vendor_output.silenced():
        loaded = _load(target, {name: subjects[name] for name in names}, threads)
        single = {name: min(_run(one)[0] for _ in range(WARM_UPS)) for name, one in loaded.items()}
        runs = {name: max(LEAST_RUNS, math.ceil(TURN_S / one)) for name, one in single.items()}
        gc.disable()
        until, rounds = time.perf_counter() + seconds, 0
        while rounds < LEAST_ROUNDS or time.perf_counter() < until:
            for name in rotated(names, rounds):
                _run(loaded[name])
                turns[name].append([_run(loaded[name]) for _ in range(runs[name])])
            rounds += 1
    return {name: _times(turns[name]) for name in subjects}


def _times(turns: Sequence[Sequence[tuple[float, float]]]) -> Times:
    """Of the runs of each turn: seconds on the wall, and of the processor."""
    walls, processors = zip(*(run for turn in turns for run in turn), strict=True)
    return Times(
        1e3 * statistics.median(walls),
        1e3 * statistics.median(processors),
        tuple(1e3 * statistics.median(wall for wall, _ in turn) for turn in turns),
    )


def _run(loaded: _Loaded) -> tuple[float, float]:
    """Seconds of one run: on the wall, and of the processor."""
    loaded.fill()
    wall, processor = time.perf_counter(), time.process_time()
    loaded.run()
    return time.perf_counter() - wall, time.process_time() - processor


def rotated(items: Sequence[T], by: int) -> list[T]:
    """The same items in a ring, begun `by` places further on."""
    by %= len(items)
    return [*items[by:], *items[:by]]
