"""Asks a vendor's library about a file, in a child process: `python -m ...child REQUEST`.

What a library does to a file that it does not like (crash, hang, eat memory) must not happen to
the command. A subject is a module of this package with a function `answer(file)`.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..runtimes.base import ask_child
from ..runtimes.child import serve


def ask(subject: str, file: Path, time_limit_s: float) -> dict[str, Any]:
    """What `converters.inspection.<subject>.answer` says about the file.

    Raises RuntimeFailure when the child refuses, crashes or passes the limits on time and memory,
    MissingExtraError when the library is not installed.
    """
    request = {"subject": subject, "file": str(file.resolve())}
    return ask_child(
        "converters.inspection.child", request, file, time_limit_s, "cannot be inspected"
    )


def main(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the subject's module says of the file."""
    subject = importlib.import_module(f"converters.inspection.{request['subject']}")
    answer: dict[str, Any] = subject.answer(request["file"])
    return answer


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]), main)
