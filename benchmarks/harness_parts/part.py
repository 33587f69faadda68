"""What a part is asked for, what it gives, and how the parts take the time of something."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int = 10  # of a command, a push, a look into the store
    runs: int = 4000  # in the store: a million samples
    processes: int = 40  # whose medians are this machine's noise
    trials: int = 1000  # a row
    models: tuple[str, ...] = ("efficientvit_m0", "edgenext_xx_small", "mobilevit_xs")
    pairs: int = 24  # of processes, for each model and target
    seconds: float = 2.0  # of runs in a process of a pair
    cache: Path = Path(".cache/latency")  # of converted files


DRAFT = Effort(rounds=3, runs=200, processes=10, trials=50, models=("efficientvit_m0",), pairs=2)


@dataclass(frozen=True)
class Part:
    """A table with the method that its figures came from; `more` is kept in the file alone."""

    method: str
    rows: Sequence[dict[str, Any]]
    more: dict[str, Any] = field(default_factory=dict)


def timed(work: Callable[[], object], rounds: int) -> list[float]:
    """How long it took each time, in seconds."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


def timing_row(what: str, seconds: Sequence[float], goal: float | None = None) -> dict[str, Any]:
    """The median and the slowest of several times, beside what was aimed at."""
    return {
        "what": what,
        "median_s": statistics.median(seconds),
        "slowest_s": max(seconds),
        "goal_s": goal,
        "met": None if goal is None else statistics.median(seconds) <= goal,
    }


def command(*args: str) -> Callable[[], object]:
    """Runs `mvkit` in a process of its own. Raises CalledProcessError if it fails."""
    program = Path(sys.executable).with_name("mvkit")

    def run() -> None:
        subprocess.run([program, *args], check=True, stdout=subprocess.DEVNULL)

    return run
