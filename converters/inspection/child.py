"""Asks a vendor's library about a file, in a child process: `python -m ...child REQUEST`.

What a library does to a file that it does not like (crash, hang, eat memory) must not happen to
the command. A subject is a module of this package with a function `answer(file)`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, RuntimeFailure
from ..manifest import one_line
from ..runtimes.base import SENTINEL, ask_child, memory_limit
from ..runtimes.child import limit_resources


def ask(subject: str, file: Path, time_limit_s: float) -> dict[str, Any]:
    """What `converters.inspection.<subject>.answer` says about the file.

    Raises RuntimeFailure when the child refuses, crashes or passes the limits on time and memory,
    MissingExtraError when the library is not installed.
    """
    request = {
        "subject": subject,
        "file": str(file.resolve()),
        "time_limit_s": time_limit_s,
        "memory_limit": memory_limit(),
    }
    # -P: a folder called `converters` where the command was started must not be imported.
    command = [sys.executable, "-P", "-m", "converters.inspection.child", json.dumps(request)]
    document = ask_child(command, file, time_limit_s)
    if "missing" in document:
        raise MissingExtraError(*map(one_line, document["missing"]))
    if "error" in document:
        raise RuntimeFailure(f"{file}: {one_line(document['error'], 300)}")
    return document


def serve(request: Mapping[str, Any]) -> None:
    """Answers one request, in one line on standard output; what a library prints goes nowhere."""
    stdout = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    limit_resources(request["memory_limit"], request["time_limit_s"])
    subject = importlib.import_module(f"converters.inspection.{request['subject']}")
    try:
        document = subject.answer(request["file"])
    except MissingExtraError as error:
        document = {"missing": [error.package, error.extra]}
    except Exception as error:
        document = {"error": one_line(f"{type(error).__name__}: {error}", 300)}
    os.write(stdout, f"\n{json.dumps({SENTINEL: document})}\n".encode())
    os._exit(0)  # a library that crashes while it is torn down has still given its answer


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
