"""Children for `run_file` that are forked from a process which has loaded the runtime already.

A child that imports torch and executorch takes two seconds to start, a forked one some
milliseconds; from there on it does what `converters.runtimes.child` always does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import pytest

from converters.errors import RuntimeFailure
from converters.runtimes import base

POLL_S = 0.002


@contextmanager
def forked_children(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within this, each child of `run_file` is forked and not started."""
    command = [sys.executable, "-m", "tests.converters.formats.forked"]
    root = Path(__file__).parents[3]
    with (
        TemporaryDirectory() as folder,
        subprocess.Popen(
            command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server,
    ):
        assert server.stdin is not None and server.stdout is not None
        given, answers = server.stdin, server.stdout

        def run(
            command: Sequence[str], file: Path, limit_s: float, output: IO[bytes], log: IO[bytes]
        ) -> int:
            written = Path(folder, "output"), Path(folder, "log")
            job = [json.loads(command[-1]), [str(path) for path in written], limit_s]
            print(json.dumps(job), file=given, flush=True)
            code = json.loads(answers.readline())
            for path, stream in zip(written, (output, log), strict=True):
                stream.write(path.read_bytes())
            if code is None:
                raise RuntimeFailure(f"{file}: the runtime did not finish within {limit_s:g} s")
            return int(code)

        patch.setattr(base, "run_group", run)
        try:
            yield
        finally:
            given.close()


def main() -> None:
    """Answers each line, a request with the files to write to and a limit, with an exit code."""
    import torch
    from executorch.extension.pybindings import _C  # noqa: F401

    from converters.runtimes import child, executorch, executorch_coreml  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        request, written, limit_s = json.loads(line)
        pid = os.fork()
        if pid == 0:
            for number, path in zip((1, 2), written, strict=True):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            child.serve(request, child.main)
        print(json.dumps(exit_code(pid, limit_s)), flush=True)


def exit_code(pid: int, limit_s: float) -> int | None:
    """What a child ended with, a signal's number negative; None if it had to be stopped."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(POLL_S)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return None


if __name__ == "__main__":
    main()
