"""One process of a runner on a device, and what it reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from converters.errors import DeviceError, DeviceLost, one_line

from .devices.base import Completed, Device
from .records import Options
from .runners.base import Job, Report, Runner, RunnerInTurns

# A first run on a slow phone takes seconds; this is for one that never ends.
FIRST_RUN_LIMIT_S = 300.0
_SLACK = 4.0  # a phone that gets warm may be that much slower than in its first run
_START_S = 60.0  # loading and compiling a large file
_UNTIMED = 2  # a turn of two runs has an untimed one before them


def run_job(device: Device, runner: Runner, job: Job, *, limit: float) -> Report:
    """Raises DeviceError, in one line, for a process that did not give a whole and sane report.

    It is stopped after `limit` seconds.
    """
    done = device.run(runner.command(job), timeout=limit)
    with _explained(device, done):
        return runner.read(done.output, done.errors)


def run_in_turns(
    device: Device, runner: RunnerInTurns, jobs: Sequence[Job], *, limit: float
) -> list[Report]:
    """As `run_job`, for files that take turns in one process."""
    done = device.run(runner.command_in_turns(jobs), timeout=limit)
    with _explained(device, done):
        return runner.read_in_turns(done.output, done.errors, len(jobs))


def time_limit(options: Options, singles: Sequence[float | None]) -> float:
    """Seconds for a timed process, where single runs of its files took so many ms at first.

    Of files that take turns the quicker ones run on until the slowest has its iterations.
    """
    known = [one for one in singles if one is not None]
    if len(known) < len(singles):
        return len(singles) * (FIRST_RUN_LIMIT_S + 2 * options.min_seconds)
    runs = 1 + options.warmup + _UNTIMED * options.iterations
    longest = 2 * options.min_seconds + _SLACK * runs * max(known) / 1e3
    return _START_S * len(known) + longest * len(known)


@contextmanager
def _explained(device: Device, done: Completed) -> Iterator[None]:
    """Adds to an error about a report how the process ended."""
    try:
        yield
    except DeviceLost:
        raise
    except DeviceError as error:
        _refuse(device, error, done)


def _refuse(device: Device, error: DeviceError, done: Completed) -> NoReturn:
    how = ""
    if done.code > 128:
        how = f"; it was ended by signal {done.code - 128}"
    elif done.code:
        how = f"; it ended with exit code {done.code}"
    # Where nothing was reported, a shell or a loader has said why.
    last = (done.errors.strip() or done.output.strip()).rsplit("\n", 1)[-1]
    if done.code and last and not last.startswith("{") and one_line(last) not in error.message:
        how += f": {one_line(last)}"
    raise DeviceError(f"{one_line(device.serial)}: {error.message}{how}") from None
