"""A process that has torch and the evaluator loaded and forks a child for each file.

`converters.runtimes.warm` starts it, as `python -m ...server SOCKET`, and is the other side. A
request is one line of JSON behind the descriptors that the child's output and log go to; the
answers are two lines, the child's process id and, at its end, its exit code. What the child does
is all in `converters.runtimes.child`. Linux only: elsewhere a fork of what is loaded here is not
safe.

No vendor's runtime is loaded here: each is loaded in the child that needs it, alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from . import child

# torch is most of the time that a child takes to start. It runs nothing here, and so has no
# threads yet, which a fork would lose.
_PRELOADED = ("executorch", "mil.session", "tflite")

_PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>


def main(connection: socket.socket) -> None:
    """Serves until the other side is closed."""
    for name in _PRELOADED:
        with contextlib.suppress(ImportError):  # the child says what is missing
            importlib.import_module(f"converters.runtimes.{name}")
    gc.freeze()  # the pages of what is loaded stay shared
    with connection.makefile("r", encoding="utf-8") as lines:
        while True:
            first, streams, *_ = socket.recv_fds(connection, 1, 2)
            if not first:
                return
            request = json.loads(lines.readline())
            pid = os.fork()
            if pid == 0:
                connection.close()
                _become_child(request, streams)
            for stream in streams:
                os.close(stream)
            connection.sendall(f"{pid}\n".encode())
            connection.sendall(f"{_exit_code(pid)}\n".encode())


def _become_child(request: Mapping[str, Any], streams: Sequence[int]) -> NoReturn:
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # not to outlive this process
        os.setsid()
        for number, stream in enumerate((os.open(os.devnull, os.O_RDONLY), *streams)):
            os.dup2(stream, number)
        child.serve(request, child.main)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)


def _exit_code(pid: int) -> int:
    """What a child ended with, a signal's number negative; all that it started is gone then."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # until it is waited for, the number is its
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        main(socket.socket(fileno=int(sys.argv[1])))
