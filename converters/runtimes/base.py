"""The contract between the kit and whatever executes a saved file, and the child that hosts it.

A foreign runtime can crash, hang or eat the machine's memory on a file that it does not like, so
it never runs in the command's own process: `run_file` starts `converters.runtimes.child`, hands it
the inputs as a NumPy archive, and reads back outputs and a report.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..artifact import Arrays
from ..errors import MissingExtraError, RuntimeFailure
from ..manifest import GraphSummary, HostLatency

TIME_LIMIT_S = 600.0
SENTINEL = "mvkit-child"  # the key that marks the child's one line of JSON


@dataclass(frozen=True)
class Port:
    """An input or output as the saved file itself declares it."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class FileRun:
    """What came of running a file: outputs for each set of inputs, and what the file is."""

    runtime: str  # name and version
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    graph: GraphSummary
    latency: HostLatency | None
    results: tuple[Arrays, ...]


class Session(Protocol):
    """A loaded file, inside the child."""

    runtime: str
    inputs: Sequence[Port]
    outputs: Sequence[Port]

    def run(self, inputs: Arrays) -> Arrays: ...
    def summary(self) -> GraphSummary: ...


def run_file(
    kind: str,
    file: Path,
    cases: Sequence[Arrays],
    *,
    threads: int = 1,
    timed_runs: int = 0,
    time_limit_s: float = TIME_LIMIT_S,
) -> FileRun:
    """Runs `file` on each set of inputs in a child process.

    `kind` names the runtime (`tflite`); `timed_runs` more runs of the first case give a rough
    latency. Raises RuntimeFailure when the runtime refuses the file, crashes, answers with
    something else or passes the time limit; MissingExtraError when it is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="mvkit-run-") as folder:
        given, returned = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(given, allow_pickle=False, **_join(cases))
        request = {
            "kind": kind,
            "file": str(file.resolve()),
            "inputs": str(given),
            "outputs": str(returned),
            "cases": len(cases),
            "threads": threads,
            "timed_runs": timed_runs,
        }
        # -P: a folder called `converters` where the command was started must not be imported.
        command = [sys.executable, "-P", "-m", "converters.runtimes.child", json.dumps(request)]
        answer = _answer(command, file, time_limit_s)
        if "missing" in answer:
            raise MissingExtraError(answer["missing"]["package"], answer["missing"]["extra"])
        if "error" in answer:
            raise RuntimeFailure(f"{file}: the runtime refuses this file: {answer['error']}")
        try:
            return _read_run(answer, returned, len(cases))
        except Exception as error:
            raise RuntimeFailure(f"{file}: the runtime's answer cannot be read: {error}") from None


def _answer(command: Sequence[str], file: Path, time_limit_s: float) -> dict[str, Any]:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=time_limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeFailure(
            f"{file}: the runtime did not finish within {time_limit_s:g} s and was stopped"
        ) from None
    if done.returncode < 0:
        raise RuntimeFailure(f"{file}: the runtime crashed ({_signal_name(-done.returncode)})")
    for line in reversed(done.stdout.decode(errors="replace").splitlines()):
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict) and isinstance(document.get(SENTINEL), dict):
            return document[SENTINEL]
    tail = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    raise RuntimeFailure(
        f"{file}: the runtime ended with code {done.returncode} and no result"
        + (f": {tail[0][:300]}" if tail else "")
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _join(cases: Sequence[Arrays]) -> dict[str, Any]:
    return {f"{i}/{name}": array for i, case in enumerate(cases) for name, array in case.items()}


def split_cases(archive: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The sets of arrays in an archive whose entries are called `index/tensor`."""
    cases: list[dict[str, Any]] = [{} for _ in range(count)]
    for key in archive:
        index, name = key.split("/", 1)
        cases[int(index)][name] = archive[key]
    return cases


def _read_run(answer: Mapping[str, Any], returned: Path, count: int) -> FileRun:
    with np.load(returned, allow_pickle=False) as archive:
        results = split_cases(archive, count)
    latency = answer["latency"]
    return FileRun(
        runtime=answer["runtime"],
        inputs=tuple(Port(p["name"], tuple(p["shape"]), p["dtype"]) for p in answer["inputs"]),
        outputs=tuple(Port(p["name"], tuple(p["shape"]), p["dtype"]) for p in answer["outputs"]),
        graph=GraphSummary(**answer["graph"]),
        latency=HostLatency(**latency) if latency else None,
        results=tuple(results),
    )
