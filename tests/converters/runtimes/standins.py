"""Two kinds of stand-in for a runtime: a script in place of Python, which does whatever a broken
child could, and a runtime of our own inside the real child.
"""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.errors import RuntimeFailure
from converters.runtimes.base import run_file
from tests.converters.handmade import assert_one_line

FILE = Path("some/net.tflite")
CASES = [{"x": np.arange(3, dtype=np.float32)}, {"x": np.ones(3, np.float32)}]

PYTHON = sys.executable  # tests put something else in its place
Stand = Callable[[str], None]

AS_RUNTIME = """
import runpy, types
source = {code!r}
standin = types.ModuleType("standin")
exec(source, standin.__dict__)
sys.modules["converters.runtimes.standin"] = standin
sys.argv = ["child", sys.argv[-1]]
runpy.run_module("converters.runtimes.child", run_name="__main__")
"""

DOUBLER = """
import numpy as np
from converters.manifest import GraphSummary
from converters.runtimes.base import Port

class Session:
    runtime = "doubler 1.0"
    inputs = outputs = [Port("x", (3,), "float32")]
    def run(self, inputs):
        return {"y": inputs["x"] * 2}
    def summary(self):
        return GraphSummary({"MUL": 1})

def open_session(request):
    return Session()
"""

ANSWER = {
    "runtime": "r 1",
    "inputs": [{"name": "x", "shape": [3], "dtype": "float32"}],
    "outputs": [],
    "graph": {"operators": {"ADD": 1}, "delegate": None, "partitions": 0},
    "latency": None,
}

SAVE = """
import numpy as np
np.savez(request["returned"], **{"0/y": np.ones(3), "1/y": np.ones(3)})
"""


def instead_of_python(code: str, folder: Path) -> str:
    """An executable that runs `code` in place of the child; the request is in `request`."""
    script = folder / "child.py"
    head = "import json, os, signal, sys, time\nrequest = json.loads(sys.argv[-1])\n"
    script.write_text(head + textwrap.dedent(code), encoding="utf-8")
    starter = folder / "python"
    starter.write_text(f'#!/bin/sh\nexec "{PYTHON}" "{script}" "$@"\n', encoding="utf-8")
    starter.chmod(0o755)
    return str(starter)


def say(answer: Any) -> str:
    return f"print(json.dumps({{'mvkit-child': json.loads({json.dumps(json.dumps(answer))})}}))\n"


def failure(kind: str = "standin", **options: Any) -> str:
    with pytest.raises(RuntimeFailure) as caught:
        run_file(kind, FILE, CASES, **options)
    assert_one_line(caught.value, str(FILE))
    assert caught.value.exit_code == 1
    return str(caught.value).removeprefix(f"{FILE}: ")


def alive(pid: int) -> bool:
    """Whether a process still does something; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int, within_s: float = 3.0) -> bool:
    end = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)
