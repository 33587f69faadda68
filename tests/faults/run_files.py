"""The child that runs many files of one runtime: `python -m tests.faults.run_files`.

Starting a process for each file would take a second or two a file. One that kills this process, or
does not end in time, is known as the one behind the last answer; the parent starts another child
for those after it. Each file is opened and run as `converters.runtimes.child` does it.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from converters.artifact import Arrays
from converters.errors import UnverifiableError, one_line
from converters.runtimes.base import Session, SessionRequest, split_cases

CPU_LIMIT_S = 30.0  # for one file; not the clock, which runs on while others compute


def opened(runtime: str, exact: bool, request: SessionRequest) -> Callable[[Arrays], Arrays]:
    """What runs the file; `exact` is in fp64 where the runtime can do that."""
    if runtime == "mil" and exact:
        import torch

        from converters.runtimes.mil import Evaluator

        torch.set_num_threads(request.threads)
        return Evaluator(request.file, "exact").run
    backend = importlib.import_module(f"converters.runtimes.{runtime}")
    session: Session = backend.open_session(request)
    return session.run


def run_job(runtime: str, exact: bool, job: dict[str, Any], cases: list[dict[str, Any]]) -> None:
    request = SessionRequest(job["file"], 1, job["inputs"], job["outputs"])
    run = opened(runtime, exact, request)
    results = {f"{i}/{name}": a for i, case in enumerate(cases) for name, a in run(case).items()}
    np.savez(job["returned"], allow_pickle=False, **results)


def main(request: dict[str, Any]) -> None:
    stdout = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # runtimes print what they like
    given: dict[str, list[dict[str, Any]]] = {}
    for job in request["jobs"]:
        if job["given"] not in given:
            with np.load(job["given"]) as archive:
                given[job["given"]] = split_cases(archive, job["cases"])
        signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT_S)
        answer = {}
        try:
            run_job(request["runtime"], request["exact"], job, given[job["given"]])
        except UnverifiableError as error:
            answer = {"unverifiable": one_line(str(error), 200)}
        except Exception as error:
            answer = {"error": one_line(f"{type(error).__name__}: {error}", 200)}
        signal.setitimer(signal.ITIMER_PROF, 0)
        os.write(stdout, f"{json.dumps(answer)}\n".encode())
    os._exit(0)  # a runtime that crashes while it is torn down has still given its answers


if __name__ == "__main__":
    main(json.load(sys.stdin))
