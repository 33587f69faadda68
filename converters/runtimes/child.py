"""The process in which a foreign runtime executes a saved file: `python -m ...child REQUEST`.

Prints one line of JSON under the sentinel key and nothing else that its parent reads.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact import Arrays
from ..errors import MissingExtraError, UnverifiableError, one_line
from .base import SENTINEL, Session, SessionRequest, split_cases

_WARMUP_RUNS = 3
_GRACE_S = 5.0  # the parent's own time limit comes first


def main(request: Mapping[str, Any]) -> dict[str, Any]:
    """Loads the file, runs every case, and stores the outputs."""
    # What a runtime unpacks goes where the parent clears up: this process ends without doing so.
    os.environ["TMPDIR"] = tempfile.tempdir = str(Path(request["returned"]).parent)
    backend = importlib.import_module(f"converters.runtimes.{request['kind']}")
    wanted = SessionRequest(**request["session"])
    session: Session = backend.open_session(wanted)
    with np.load(request["given"], allow_pickle=False) as archive:
        cases = split_cases(archive, request["cases"])
    outputs = {
        f"{i}/{name}": array
        for i, case in enumerate(cases)
        for name, array in session.run(case).items()
    }
    np.savez(request["returned"], allow_pickle=False, **outputs)
    latency = None
    if request["timed_runs"] and cases:
        median = _median_ms(session.run, cases[0], request["timed_runs"])
        latency = {
            "threads": wanted.threads,
            "runs": request["timed_runs"],
            "median_ms": median,
        }
    return {
        "runtime": session.runtime,
        "inputs": [asdict(port) for port in session.inputs],
        "outputs": [asdict(port) for port in session.outputs],
        "graph": asdict(session.summary()),
        "latency": latency,
    }


def _median_ms(run: Callable[[Arrays], Arrays], case: Arrays, count: int) -> float:
    for _ in range(_WARMUP_RUNS):
        run(case)
    times = []
    for _ in range(count):
        start = time.perf_counter()
        run(case)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def limit_resources(memory: int, time_limit_s: float) -> None:
    """What keeps a damaged file from the rest of the machine, should the parent be gone.

    Memory is refused before the machine swaps; if it still runs out, this process goes first.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError):
        memory += page * int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for kind, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0)):
        own, _ = resource.getrlimit(kind)
        if own == resource.RLIM_INFINITY or limit < own:
            with contextlib.suppress(OSError, ValueError):  # macOS has no limit on memory
                resource.setrlimit(kind, (limit, limit))
    signal.setitimer(signal.ITIMER_REAL, time_limit_s + _GRACE_S)


def serve(request: Mapping[str, Any], main: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Answers one request with what `main` gives, in one line on standard output, and ends.

    What a runtime prints goes nowhere. `ask_child` of `base` is the other side.
    """
    stdout = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    limit_resources(request["memory_limit"], request["time_limit_s"])
    answer: dict[str, Any]
    try:
        answer = main(request)
    except MissingExtraError as error:
        answer = {"missing": {"package": error.package, "extra": error.extra}}
    except UnverifiableError as error:
        answer = {"unverifiable": str(error)}
    except Exception as error:
        answer = {"error": one_line(f"{type(error).__name__}: {error}", 300)}
    os.write(stdout, f"\n{json.dumps({SENTINEL: answer})}\n".encode())
    os._exit(0)  # a runtime that crashes while it is torn down has still given its answer


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]), main)
