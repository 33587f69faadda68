"""The contract between the kit and whatever executes a saved file, and the child that hosts it.

A foreign runtime can crash, hang or eat the machine's memory on a file that it does not like, so
it never runs in the command's own process: `run_file` starts `converters.runtimes.child`, hands it
the inputs as a NumPy archive, and reads back outputs and a report.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from ..artifact import Arrays
from ..errors import (
    MissingExtraError,
    MvkitError,
    RuntimeFailure,
    UnverifiableError,
    UsageError,
    one_line,
)
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


@dataclass(frozen=True)
class SessionRequest:
    """What a runtime needs to open a file.

    `inputs` and `outputs` are the names that the manifest gives them, in order, for formats that
    store none themselves.
    """

    file: str
    threads: int
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()


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
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    threads: int = 1,
    timed_runs: int = 0,
    time_limit_s: float = TIME_LIMIT_S,
) -> FileRun:
    """Runs `file` on each set of inputs in a child process.

    `kind` names the runtime (`tflite`); `inputs` and `outputs` are the names in order, for a file
    that has none. `timed_runs` more runs of the first case give a rough latency.

    Raises RuntimeFailure when the runtime refuses the file, crashes, answers with something else
    or passes the limits on time and memory; UnverifiableError when it knows that it cannot judge
    the file; MissingExtraError when it is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="mvkit-run-") as folder:
        given, returned = Path(folder, "in.npz"), Path(folder, "out.npz")
        try:
            np.savez(given, allow_pickle=False, **_join(cases))
        except OSError as error:
            raise UsageError(f"cannot write to {folder}: {error.strerror or error}") from None
        request = {
            "kind": kind,
            "session": asdict(
                SessionRequest(str(file.resolve()), threads, tuple(inputs), tuple(outputs))
            ),
            "given": str(given),
            "returned": str(returned),
            "cases": len(cases),
            "timed_runs": timed_runs,
        }
        answer = ask_child(
            "converters.runtimes.child",
            request,
            file,
            time_limit_s,
            "the runtime refuses this file",
        )
        try:
            return _read_run(answer, returned, len(cases))
        except Exception as error:
            raise _unreadable(file, error) from None


def memory_limit() -> int:
    """Bytes that a child may add to its own: half of the machine, or of the container."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # another system, or "max"
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return total // 2


def ask_child(
    module: str, request: Mapping[str, Any], file: Path, time_limit_s: float, refusal: str
) -> dict[str, Any]:
    """What `module`, run as a process of its own with `request`, says of `file`.

    The process ends with `converters.runtimes.child.serve`. Raises what it reports:
    MissingExtraError, UnverifiableError, and RuntimeFailure, whose message begins with `refusal`;
    RuntimeFailure too when it crashes, says nothing or passes the limits on time and memory.
    """
    limits = {"time_limit_s": time_limit_s, "memory_limit": memory_limit()}
    # -P: a folder called `converters` where the command was started must not be imported.
    command = [sys.executable, "-P", "-m", module, json.dumps({**request, **limits})]
    answer = _answer(command, file, time_limit_s)
    try:
        failure = _failure(answer, file, refusal)
    except Exception as error:
        failure = _unreadable(file, error)
    if failure is not None:
        raise failure
    return answer


def _failure(answer: Mapping[str, Any], file: Path, refusal: str) -> MvkitError | None:
    named = f"{file.resolve()}: "  # as the child's own messages begin
    if "missing" in answer:
        missing = answer["missing"]
        return MissingExtraError(one_line(missing["package"]), one_line(missing["extra"]))
    if "unverifiable" in answer:
        reason = one_line(answer["unverifiable"], 400).replace(named, "")
        return UnverifiableError(f"{file}: {reason}")
    if "error" in answer:
        reason = one_line(answer["error"], 400).replace(named, "")
        return RuntimeFailure(f"{file}: {refusal}: {reason}")
    return None


def _unreadable(file: Path, error: Exception) -> RuntimeFailure:
    reason = one_line(f"{type(error).__name__}: {error}")
    return RuntimeFailure(f"{file}: the runtime's answer cannot be read: {reason}")


def _answer(command: Sequence[str], file: Path, time_limit_s: float) -> dict[str, Any]:
    # Into files: a pipe would stay open, and be waited for, as long as any grandchild lives.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as log:
        code = _run_group(command, file, time_limit_s, output, log)
        if code < 0:
            hint = "perhaps for want of memory" if -code == signal.SIGKILL else None
            raise RuntimeFailure(f"{file}: the runtime crashed ({_signal_name(-code)})", hint)
        for line in reversed(_tail(output)):
            with contextlib.suppress(ValueError, RecursionError):
                document = json.loads(line)
                if code == 0 and isinstance(document, dict):
                    answer = document.get(SENTINEL)
                    if isinstance(answer, dict):
                        return answer
        last = [one_line(line, 300) for line in _tail(log) if line.strip()][-1:]
    raise RuntimeFailure(
        f"{file}: the runtime ended with code {code} and no result"
        + "".join(f": {t}" for t in last)
    )


def _run_group(
    command: Sequence[str], file: Path, time_limit_s: float, output: IO[bytes], log: IO[bytes]
) -> int:
    """The exit code of a command that is gone when this returns, with all that it started."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=log, start_new_session=True
        )
    except OSError as error:
        reason = error.strerror or error
        raise RuntimeFailure(f"{file}: the runtime's process does not start: {reason}") from None
    try:
        return process.wait(time_limit_s)
    except subprocess.TimeoutExpired:
        raise RuntimeFailure(
            f"{file}: the runtime did not finish within {time_limit_s:g} s and was stopped"
        ) from None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


def _tail(stream: IO[bytes]) -> list[str]:
    """The last lines of what a child wrote, which may be gigabytes."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 2**20))
    return stream.read().decode(errors="replace").splitlines()


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
        array = archive[key]
        if not isinstance(array, np.ndarray) or not index.isdecimal():
            raise ValueError(f"unexpected entry {key}")
        cases[int(index)][name] = array
    return cases


def _read_run(answer: Mapping[str, Any], returned: Path, count: int) -> FileRun:
    import cattrs

    with np.load(returned, allow_pickle=False) as archive:
        results = split_cases(archive, count)
    if not isinstance(answer["runtime"], str):
        raise TypeError("the runtime has no name")
    ports = tuple[Port, ...]
    latency = answer["latency"]
    return FileRun(
        runtime=answer["runtime"],
        inputs=cattrs.structure(answer["inputs"], ports),
        outputs=cattrs.structure(answer["outputs"], ports),
        graph=cattrs.structure(answer["graph"], GraphSummary),
        latency=None if latency is None else cattrs.structure(latency, HostLatency),
        results=tuple(results),
    )
