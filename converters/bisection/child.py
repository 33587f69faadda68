"""The process in which a tap executes a saved file: `python -m converters.bisection.child REQUEST`.

Prints one line of JSON under the sentinel key and nothing else that its parent reads.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

import numpy as np

from ..runtimes.base import SessionRequest
from ..runtimes.child import serve
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


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]), main)
