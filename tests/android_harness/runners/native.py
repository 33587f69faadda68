"""Native runners run on files of the kit."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from android_harness.bundles import Bundle
from android_harness.records import Options
from android_harness.runners.base import Job, Report
from android_harness.runners.mvkit import MvkitRunner
from converters import Artifact
from converters.artifact import GoldenCase

QUICK = Options(warmup=1, iterations=3, min_seconds=0)


@dataclass(frozen=True)
class Ended:
    code: int
    output: str
    errors: str


def raw_inputs(artifact: Artifact, case: GoldenCase, folder: Path) -> tuple[str, ...]:
    """The case's inputs as files, in the manifest's order."""
    files = []
    for i, spec in enumerate(artifact.manifest.inputs):
        files.append(str(folder / f"in-{i}.bin"))
        case.inputs[spec.name].tofile(files[-1])
    return tuple(files)


def raw_outputs(artifact: Artifact, case: GoldenCase, base: Path) -> dict[str, NDArray[Any]]:
    """What a runner wrote, in the case's shapes."""
    return {
        spec.name: np.fromfile(f"{base}-{i}.bin", case.outputs[spec.name].dtype).reshape(
            case.outputs[spec.name].shape
        )
        for i, spec in enumerate(artifact.manifest.outputs)
    }


def run(
    bundle: Bundle,
    command: Sequence[str],
    *,
    before: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Runs a runner's command where its bundle lies, as on a device that it was pushed to.

    `before` is a program that starts it.
    """
    done = subprocess.run(
        [*before, *command],
        cwd=bundle.path.parent,
        env=env,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def report(
    bundle: Bundle,
    job: Job,
    *,
    start: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Report:
    """`start` is what starts the program, instead of the bundle's script."""
    runner = MvkitRunner(bundle.target)
    command = runner.command(job)
    if start is not None:
        command = [*start, f"{bundle.path.name}/{bundle.path.name}", *command[2:]]
    ended = run(bundle, command, env=env)
    found = runner.read(ended.output, ended.errors)
    assert ended.code == 0
    return found
