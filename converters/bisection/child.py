"""The process in which a tap executes a saved file: `python -m converters.bisection.child REQUEST`.

Prints one line of JSON under the sentinel key and nothing else that its parent reads.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

import numpy as np

from ..errors import MissingExtraError, UnverifiableError
from ..manifest import one_line
from ..runtimes.base import SENTINEL, SessionRequest
from ..runtimes.child import limit_resources
from .taps import Tap


def main(request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the tap and stores the values, each under its place among the keys."""
    tap = cast(Tap, importlib.import_module(f"converters.bisection.{request['tap']}"))
    with np.load(request["given"], allow_pickle=False) as archive:
        inputs = dict(archive)
    trace = tap.trace(SessionRequest(**request["session"]), inputs)
    arrays: dict[str, Any] = {str(i): array for i, array in enumerate(trace.values.values())}
    np.savez(request["returned"], allow_pickle=False, **arrays)
    return {
        "runtime": trace.runtime,
        "operators": [asdict(operator) for operator in trace.operators],
        "keys": list(trace.values),
        "names": dict(trace.names),
        "inputs": dict(trace.inputs),
        "outputs": dict(trace.outputs),
    }


def serve(request: Mapping[str, Any]) -> None:
    stdout = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a runtime prints goes nowhere
    limit_resources(request["memory_limit"], request["time_limit_s"])
    answer: dict[str, Any]
    try:
        answer = main(request)
    except MissingExtraError as error:
        answer = {"missing": [error.package, error.extra]}
    except UnverifiableError as error:
        answer = {"unverifiable": str(error)}
    except Exception as error:
        answer = {"error": one_line(f"{type(error).__name__}: {error}", 300)}
    os.write(stdout, f"\n{json.dumps({SENTINEL: answer})}\n".encode())
    os._exit(0)  # a runtime that crashes while it is torn down has still given its answer


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
