"""ExecuTorch's `executor_runner`: its command, run for real with stand-ins, and what it prints."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness.records import Options, Timings
from android_harness.runners.base import Job
from android_harness.runners.executor_runner import ExecutorRunner
from converters.errors import DeviceError, UsageError

WARMUP = "mvkit: warmup 2\n"
START = """\
I 00:00:00.000321 executorch:executor_runner.cpp:430] Model file m.pte is loaded.
I 00:00:00.051221 executorch:executor_runner.cpp:512] Model loaded in 50.125000 ms.
"""
ITERATIONS = "".join(
    f"I 00:00:00.1{i} executorch:executor_runner.cpp:640] Iteration {i + 1} of 5: {time} ms\n"
    for i, time in enumerate(["30.5", "21.000000", "20.75", "20.25", "20.500000"])
)
DONE = """\
I 00:00:00.2 executorch:executor_runner.cpp:650] Model executed successfully 5 time(s) in 113.0 ms.
"""
NEW, OLD = WARMUP + START + ITERATIONS + DONE, WARMUP + START + DONE
RUNNER = ExecutorRunner("/data/local/tmp/executor_runner")


def read(output: str, errors: str = "") -> Timings:
    return RUNNER.read(output, errors).timings


def test_iterations_are_split_into_first_warm_up_and_samples() -> None:
    timings = read(NEW)
    assert (timings.load, timings.first) == (50.125, 30.5)
    assert (timings.warmup, timings.samples) == ((21.0, 20.75), (20.25, 20.5))
    assert timings.summary == {}


def test_of_older_builds_only_the_mean_with_the_first_is_known() -> None:
    timings = read(OLD)
    assert (timings.first, timings.warmup, timings.samples) == (None, (), None)
    assert timings.summary == {"avg_with_first": 113.0 / 5}


def test_logs_may_go_to_the_other_stream() -> None:
    assert read(WARMUP, NEW.removeprefix(WARMUP)) == read(NEW)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Iteration 3 of 5", "Iteration 4 of 5"),
        ("Iteration 3 of 5", "Iteration 3 of 6"),
        ("20.25 ms", "nan ms"),
        ("20.25 ms", "-1 ms"),
        ("20.25 ms", "0 ms"),
        ("20.25 ms", "1e999 ms"),
        ("in 113.0 ms", "in inf ms"),
        ("successfully 5 time", "successfully 999999999 time"),
        ("in 50.125000 ms", "in -50.125000 ms"),
        ("warmup 2", "warmup 4"),
    ],
)
def test_an_impossible_figure_is_refused(old: str, new: str) -> None:
    assert old in NEW
    with pytest.raises(DeviceError):
        read(NEW.replace(old, new))


@pytest.mark.parametrize("place", range(5))
def test_no_iteration_may_be_missing(place: int) -> None:
    lines = ITERATIONS.splitlines(keepends=True)
    del lines[place]
    with pytest.raises(DeviceError, match="iterations are not whole"):
        read(WARMUP + START + "".join(lines) + DONE)


def test_nothing_executed_is_refused() -> None:
    with pytest.raises(DeviceError, match="ran nothing"):
        read(OLD.replace("successfully 5", "successfully 0"))


def test_a_failure_is_told_with_its_reason() -> None:
    line = "F 00:00:00.1 executorch:executor_runner.cpp:470] In function main(), assert failed\n"
    with pytest.raises(DeviceError, match=r"it failed: F 00:00:00\.1 .* assert failed"):
        read(WARMUP + START, line)


@given(st.integers(0, len(NEW) - 5))
def test_no_beginning_of_the_output_is_whole(end: int) -> None:
    with pytest.raises(DeviceError):
        read(NEW[:end])


@given(st.text(), st.integers(0, len(NEW)), st.integers(0, 60))
def test_garbage_is_refused_or_does_no_harm(garbage: str, place: int, over: int) -> None:
    try:
        timings = read(NEW[:place] + garbage + NEW[place + over :])
    except DeviceError:
        return
    times = (*timings.warmup, *(timings.samples or ()), *timings.summary.values())
    assert all(0 < time < float("inf") for time in times)


def job(**options: object) -> Job:
    return Job("m.pte", ("a.bin", "b.bin"), "out", Options(warmup=2, iterations=2, **options))


def command(runner: ExecutorRunner, folder: Path, *, logcat: str | None = None) -> str:
    """What the command prints, in a folder where these programs are found."""
    if logcat is not None:
        (folder / "logcat").write_text(logcat)
        (folder / "logcat").chmod(0o755)
    done = subprocess.run(
        runner.command(job()),
        cwd=folder,
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{done.stdout}exit {done.returncode}"


@pytest.fixture
def stand_in(tmp_path: Path) -> ExecutorRunner:
    program = tmp_path / "executor_runner"
    program.write_text('#!/bin/sh\nfor a in "$@"; do echo "$a"; done\nexit 7\n')
    program.chmod(0o755)
    return ExecutorRunner(str(program))


ARGUMENTS = (
    "--model_path=m.pte\n--num_executions=5\n--cpu_threads=1\n--inputs=a.bin,b.bin\n"
    "--output_file=out\n"
)


def test_where_there_is_no_system_log_the_program_prints_itself(
    stand_in: ExecutorRunner, tmp_path: Path
) -> None:
    assert command(stand_in, tmp_path) == f"{WARMUP}{ARGUMENTS}exit 7"


def test_androids_log_is_emptied_before_and_read_afterwards(
    stand_in: ExecutorRunner, tmp_path: Path
) -> None:
    shown = command(stand_in, tmp_path, logcat='#!/bin/sh\necho "log $*"\n')
    assert shown == f"{WARMUP}log -c\n{ARGUMENTS}log -d -v raw -s ExecuTorch\nexit 7"


def test_cores_are_given_by_taskset() -> None:
    assert RUNNER.command(job(cores=0xF0))[5:8] == [
        "taskset", "f0", "/data/local/tmp/executor_runner",
    ]  # fmt: skip


def test_jobs_that_it_cannot_do_are_refused() -> None:
    with pytest.raises(UsageError, match="neither a profile"):
        RUNNER.command(Job("m.pte", (), None, Options(), profile=True))
    with pytest.raises(UsageError, match="neither a profile"):
        RUNNER.command(Job("m.pte", (), None, Options(), memory=True))
    with pytest.raises(UsageError, match="--backend gpu"):
        RUNNER.command(job(backend="gpu"))
    with pytest.raises(UsageError, match="comma"):
        RUNNER.command(Job("m.pte", ("a,b.bin",), None, Options()))
