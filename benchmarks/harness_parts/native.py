"""One process of a native runner on this host, as `mvkit bench` starts it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from android_harness.bundles import Bundle
from android_harness.records import Options
from android_harness.runners.base import Job
from android_harness.runners.mvkit import MvkitRunner


def native_samples(bundle: Bundle, file: Path, photo: Path, options: Options) -> tuple[float, ...]:
    """The timed runs of a fresh process (ms); `photo` is the raw input. Paths are absolute."""
    runner = MvkitRunner(bundle.target)
    done = subprocess.run(
        runner.command(Job(str(file), (str(photo),), None, options)),
        cwd=bundle.path.parent,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,  # the report says what went wrong
    )
    samples = runner.read(done.stdout, done.stderr).timings.samples
    assert samples is not None
    return samples
