"""One process of a native runner on this host, as `mvkit bench` starts it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from android_harness.bundles import Bundle
from android_harness.records import Options, Timings
from android_harness.runners.base import Job
from android_harness.runners.mvkit import MvkitRunner


def native_samples(bundle: Bundle, file: Path, photo: Path, options: Options) -> tuple[float, ...]:
    """The timed runs of a fresh process (ms); `photo` is the raw input. Paths are absolute."""
    runner = MvkitRunner(bundle.target)
    done = _run(bundle, runner.command(timed_job(file, photo, options)))
    samples = runner.read(done.stdout, done.stderr).timings.samples
    assert samples is not None
    return samples


def native_turns(
    bundle: Bundle, files: Sequence[Path], photo: Path, options: Options
) -> list[Timings]:
    """The same of files that take turns in a fresh process."""
    runner = MvkitRunner(bundle.target)
    jobs = [timed_job(file, photo, options) for file in files]
    done = _run(bundle, runner.command_in_turns(jobs))
    return [one.timings for one in runner.read_in_turns(done.stdout, done.stderr, len(files))]


def timed_job(file: Path, photo: Path, options: Options) -> Job:
    """What the runner is to do; without a golden output there is nothing to compare."""
    return Job(str(file), (str(photo),), None, options)


def _run(bundle: Bundle, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=bundle.path.parent,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,  # the report says what went wrong
    )
