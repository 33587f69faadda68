"""The process in which a foreign runtime executes a saved file: `python -m ...child REQUEST`.

Prints one line of JSON under the sentinel key and nothing else that its parent reads.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ..artifact import Arrays
from ..errors import MissingExtraError
from .base import SENTINEL, Session, split_cases

_WARMUP_RUNS = 3


def main(request: Mapping[str, Any]) -> dict[str, Any]:
    """Loads the file, runs every case, and stores the outputs."""
    backend = importlib.import_module(f"converters.runtimes.{request['kind']}")
    session: Session = backend.open_session(request["file"], threads=request["threads"])
    with np.load(request["inputs"], allow_pickle=False) as archive:
        cases = split_cases(archive, request["cases"])
    outputs = {
        f"{i}/{name}": array
        for i, case in enumerate(cases)
        for name, array in session.run(case).items()
    }
    np.savez(request["outputs"], allow_pickle=False, **outputs)
    latency = None
    if request["timed_runs"] and cases:
        median = _median_ms(session.run, cases[0], request["timed_runs"])
        latency = {
            "threads": request["threads"],
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


def _limit_resources() -> None:
    """A damaged file may ask for any amount of memory: refuse before the machine swaps."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _limit_resources()
    try:
        answer = main(json.loads(sys.argv[1]))
    except MissingExtraError as error:
        answer = {"missing": {"package": error.package, "extra": error.extra}}
    except Exception as error:
        answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    print(json.dumps({SENTINEL: answer}), flush=True)
    os._exit(0)  # a runtime that crashes while it is torn down has still given its answer
