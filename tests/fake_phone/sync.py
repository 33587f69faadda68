"""The service `sync:`: files pushed and pulled.

Requests and answers are four letters and a little-endian length or number. A push is SEND, DATA
in parts of at most 64 KiB, DONE with the file's time; a pull is RECV and the phone's DATA.
Source: `SYNC.TXT` and `file_sync_protocol.h` of Android's `packages/modules/adb`.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from .connection import Stream
from .faults import ServiceFailed, What, Where
from .files import PhoneFiles

_LARGEST = 2**16
_NAMED = ("STAT", "LSTA", "STA2", "LST2", "LIST", "LIS2", "SEND", "RECV")

Reached = Callable[[Where, int], Awaitable[What | None]]


async def serve(stream: Stream, files: PhoneFiles, reached: Reached) -> None:
    while True:
        request, length = await _header(stream)
        if request == "QUIT":
            return
        assert request in _NAMED, request
        name = (await stream.reader.readexactly(length)).decode("utf-8", "surrogateescape")
        try:
            if request == "SEND":
                await _receive_file(stream, files, name, reached)
            elif request == "RECV":
                await _send_file(stream, files.path(name), reached)
            elif request in ("LIST", "LIS2"):
                await _list(stream, files.path(name), second=request == "LIS2")
            else:
                await stream.write(_status(request, files.path(name)))
        except (OSError, ServiceFailed) as error:
            text = (getattr(error, "strerror", None) or str(error)).encode()
            await stream.write(struct.pack("<4sI", b"FAIL", len(text)) + text)


async def _header(stream: Stream) -> tuple[str, int]:
    letters, number = struct.unpack("<4sI", await stream.reader.readexactly(8))
    return letters.decode("ascii"), number


async def _receive_file(stream: Stream, files: PhoneFiles, name: str, reached: Reached) -> None:
    name, _, mode = name.rpartition(",")
    path = files.path(name)
    failure: Exception | None = None
    file = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        file = path.open("wb")
    except OSError as error:
        failure = error
    count = 0
    try:
        while True:
            request, number = await _header(stream)
            if request == "DONE":
                break
            assert request == "DATA", request
            data = await stream.reader.readexactly(number)
            count += number
            try:
                await reached("push", count)
                if file is not None and failure is None:
                    file.write(data)
            except (OSError, ServiceFailed) as error:  # told when the host has sent all of it
                failure = error
    finally:
        if file is not None:
            file.close()
    if failure is not None:
        path.unlink(missing_ok=True)
        raise failure
    bits = int(mode) >> 6 & 7  # what the owner may, all may
    path.chmod(bits * 0o111)
    os.utime(path, (number, number))
    await stream.write(struct.pack("<4sI", b"OKAY", 0))


async def _send_file(stream: Stream, path: Path, reached: Reached) -> None:
    count = 0
    with path.open("rb") as file:
        while data := file.read(_LARGEST):
            await stream.write(struct.pack("<4sI", b"DATA", len(data)) + data)
            count += len(data)
            await reached("pull", count)
    await stream.write(struct.pack("<4sI", b"DONE", 0))


def _status(request: str, path: Path) -> bytes:
    """STAT and LSTA are one thing in version 1; version 2 tells links from what they lead to."""
    letters = request.encode()
    error = 0
    try:
        status = path.stat() if request == "STA2" else path.lstat()
    except OSError as missing:
        error, status = missing.errno or 0, os.stat_result([0] * 10)
    if request == "STAT":
        return struct.pack("<4s3I", letters, status.st_mode, status.st_size, int(status.st_mtime))
    return letters + _second_version(error, status)


def _second_version(error: int, status: os.stat_result) -> bytes:
    return struct.pack(
        "<IQQIIIIQqqq", error, status.st_dev, status.st_ino, status.st_mode, status.st_nlink,
        status.st_uid, status.st_gid, status.st_size,
        int(status.st_atime), int(status.st_mtime), int(status.st_ctime),
    )  # fmt: skip


async def _list(stream: Stream, path: Path, *, second: bool) -> None:
    for child in sorted(path.iterdir()) if path.is_dir() else ():
        status, name = child.lstat(), os.fsencode(child.name)
        if second:
            entry = b"DNT2" + _second_version(0, status)
        else:
            entry = struct.pack(
                "<4s3I", b"DENT", stat.S_IFMT(status.st_mode) | 0o755, status.st_size,
                int(status.st_mtime),
            )  # fmt: skip
        await stream.write(entry + struct.pack("<I", len(name)) + name)
    await stream.write(b"DONE".ljust(76 if second else 20, b"\0"))
