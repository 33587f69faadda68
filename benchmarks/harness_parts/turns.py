"""Two processes that measure in turns, although neither knows of the other: one is stopped.

What a busy machine does then happens to both, as with files that take turns in one process. An
iteration that is stopped in the middle counts as a long one, one of many in a turn, which a median
does not notice.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TURN_S = 0.15
_POLL_S = 0.01


@dataclass(frozen=True)
class Side:
    """A program that measures, and what its output says: the median of its runs (ms)."""

    command: Sequence[str]
    median: Callable[[str], float]
    folder: Path | None = None
    start_s: float = 0.0  # until it begins to measure


def take_turns(one: Side, other: Side, turn_s: float = TURN_S) -> tuple[float, float]:
    """The medians of both. The one that takes longer to start is given as much time before.

    Raises CalledProcessError if one fails.
    """
    slow, quick = sorted((one, other), key=lambda side: side.start_s, reverse=True)
    found = {}
    with _started(slow) as first:
        time.sleep(slow.start_s - quick.start_s)
        _signal(first, signal.SIGSTOP)
        with _started(quick) as second:
            _signal(second, signal.SIGSTOP)
            for running in itertools.cycle((second, first)):
                if any(each.process.poll() is not None for each in (first, second)):
                    break
                _signal(running, signal.SIGCONT)
                _wait(running, turn_s)
                _signal(running, signal.SIGSTOP)
            for each in (first, second):
                _signal(each, signal.SIGCONT)
                found[id(each.side)] = each.result()
    return found[id(one)], found[id(other)]


def alone(side: Side) -> tuple[float, float]:
    """The median (ms), and seconds that all took: with few iterations nearly all is the start."""
    begin = time.perf_counter()
    with _started(side) as run:
        median = run.result()
    return median, time.perf_counter() - begin


@dataclass(frozen=True)
class _Run:
    side: Side
    process: subprocess.Popen[bytes]
    output: Path

    def result(self) -> float:
        code = self.process.wait()
        if code:
            raise subprocess.CalledProcessError(code, list(self.side.command))
        return self.side.median(self.output.read_text(encoding="utf-8", errors="replace"))


@contextmanager
def _started(side: Side) -> Iterator[_Run]:
    """In a session of its own: a program may be a script that starts another."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "output")
        with output.open("wb") as stream:
            process = subprocess.Popen(
                side.command, cwd=side.folder, stdout=stream, stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        run = _Run(side, process, output)
        try:
            yield run
        finally:
            _signal(run, signal.SIGKILL)
            process.wait()


def _wait(run: _Run, seconds: float) -> None:
    until = time.perf_counter() + seconds
    while run.process.poll() is None and time.perf_counter() < until:
        time.sleep(_POLL_S)


def _signal(run: _Run, number: int) -> None:
    with suppress(ProcessLookupError):  # it has ended
        os.killpg(run.process.pid, number)
