"""Children that need not import torch, for a process that converts: forked from one that has it.

Starting a child costs two seconds of imports where the file itself takes one. `warm_children`
starts `converters.runtimes.server`, which does the imports while a conversion is under way, and
whose children are otherwise those of `base`: a process and a session of their own for each file,
with the same limits, killed on a time limit or Ctrl-C. Whatever goes wrong with the server itself
says nothing of a file, which is then run in a child that is started anew.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from . import base

_BUSY = threading.Lock()  # the server has one child at a time
_server: Server | None = None


class Server:
    """The process that forks; it ends with `close`, or with the process that started it."""

    def __init__(self) -> None:
        """Starts it, which takes no time: it loads what it needs on its own.

        Raises OSError where no process can be started.
        """
        self.owner = os.getpid()
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-m", "converters.runtimes.server"]
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def alive(self) -> bool:
        return self.owner == os.getpid() and self._process.poll() is None

    def close(self) -> None:
        self._socket.close()
        if self.owner == os.getpid():
            self._process.kill()
            self._process.wait()

    def run(self, request: str, time_limit_s: float, output: IO[bytes], log: IO[bytes]) -> int:
        """The exit code of a child that answers `request`, a signal's number negative.

        Raises TimeoutError after `time_limit_s` seconds, and another OSError where the server is
        gone. With any exception, Ctrl-C too, both the child and the server are gone.
        """
        pid = None
        try:
            self._socket.settimeout(time_limit_s)
            message = request.encode() + b"\n"
            # The first byte carries the descriptors, with an empty space of JSON.
            socket.send_fds(self._socket, [b" "], [output.fileno(), log.fileno()])
            self._socket.sendall(message)
            pid = self._number()
            return self._number()
        except BaseException:
            if pid is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
            self.close()
            raise

    def _number(self) -> int:
        text = b""
        while not text.endswith(b"\n"):
            part = self._socket.recv(1)
            if not part:
                raise ConnectionResetError("the process that forks children has ended")
            text += part
        return int(text)


def warm_children() -> None:
    """Has this process's next children forked, where that is possible: see `run_group`."""
    global _server
    if sys.platform != "linux" or (_server is not None and _server.alive()):
        return
    with contextlib.suppress(OSError):  # no process, no memory: then no warm children
        _server = Server()
        atexit.register(_server.close)


def run_group(
    command: Sequence[str], file: Path, time_limit_s: float, output: IO[bytes], log: IO[bytes]
) -> int:
    """`base.run_group` for a child of `converters.runtimes.child`, forked where there is a server.

    Raises RuntimeFailure when the child does not end in time or cannot be started.
    """
    server = _server
    if server is not None and server.alive() and _BUSY.acquire(blocking=False):
        try:
            return server.run(command[-1], time_limit_s, output, log)
        except TimeoutError:
            raise base.overdue(file, time_limit_s) from None
        except OSError:
            pass
        finally:
            _BUSY.release()
    return base.run_group(command, file, time_limit_s, output, log)
