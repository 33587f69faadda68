"""The services `shell:`, `shell,v2:` and `exec:`: commands run on this host.

Without the feature shell_v2 a phone runs a command in a pseudo-terminal: line ends become CR LF,
standard error is mixed in and the exit status is lost. With it, packets (a byte, a length, data)
carry both streams and the status. When the host goes, the shell gets a SIGHUP and whatever it had
started lives on, as with Android's daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from .connection import Stream
from .faults import What
from .userland import Userland

_CHUNK = 2**16
_OUT, _ERR, _EXIT = 1, 2, 3

Reached = Callable[[int], Awaitable[What | None]]  # bytes of output so far


class Shell:
    """Starts commands, and knows which of them run."""

    def __init__(self, userland: Userland, folder: str) -> None:
        self._userland, self._folder = userland, folder
        self._sessions: dict[int, asyncio.subprocess.Process] = {}

    async def serve_v2(self, stream: Stream, command: str, reached: Reached) -> None:
        async with self._started(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            count = 0
            turn = asyncio.Lock()

            async def forward(number: int, pipe: asyncio.StreamReader) -> bool:
                nonlocal count
                while data := await pipe.read(_CHUNK):
                    async with turn:
                        await stream.write(struct.pack("<BI", number, len(data)) + data)
                        count += len(data)
                        if await reached(count) == "close":
                            return False
                return True

            both = (forward(_OUT, process.stdout), forward(_ERR, process.stderr))
            waiting = {asyncio.ensure_future(one) for one in both}
            try:
                while waiting:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    if not all(one.result() for one in done):
                        return
            finally:
                for one in waiting:
                    one.cancel()
            code = await process.wait()
            status = 128 - code if code < 0 else code
            await stream.write(struct.pack("<BIB", _EXIT, 1, status))

    async def serve_v1(self, stream: Stream, command: str, reached: Reached) -> None:
        master, slave = pty.openpty()
        try:
            async with self._started(command, stdin=slave, stdout=slave, stderr=slave):
                os.close(slave)
                slave = -1
                count = 0
                loop = asyncio.get_running_loop()
                while data := await loop.run_in_executor(None, _read, master):
                    await stream.write(data)
                    count += len(data)
                    if await reached(count) == "close":
                        return
        finally:
            for descriptor in {master, slave} - {-1}:
                os.close(descriptor)

    async def serve_exec(self, stream: Stream, command: str, reached: Reached) -> None:
        async with self._started(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout is not None
            count = 0
            while data := await process.stdout.read(_CHUNK):
                await stream.write(data)
                count += len(data)
                if await reached(count) == "close":
                    return

    async def kill_all(self) -> None:
        """What a reboot does, orphans included."""
        for leader, process in list(self._sessions.items()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(leader, signal.SIGKILL)
            await process.wait()
            process._transport.close()  # type: ignore[attr-defined]  # asyncio has no other way
        self._sessions.clear()

    @asynccontextmanager
    async def _started(
        self, command: str, *, stdin: int, stdout: int, stderr: int
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *self._userland.interpreter,
            "-c",
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=self._userland.environment,
            cwd=self._folder,
            start_new_session=True,
        )
        self._sessions[process.pid] = process
        try:
            yield process
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGHUP)
            elif not _group_lives(process.pid):
                del self._sessions[process.pid]


def _group_lives(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:  # EIO: the last process that had the terminal open has ended
        return b""
