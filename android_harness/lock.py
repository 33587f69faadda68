"""One command at a time on a device.

The lock is the operating system's on a file in the user's folder, so that it ends with the
process that holds it, however that ends: what a killed command leaves of it holds nobody up. A
second file says who it is.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from converters.errors import MissingExtraError, UsageError, one_line

try:
    import platformdirs
    from filelock import FileLock, Timeout
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "filelock", "lab") from None


@contextmanager
def device_lock(serial: str) -> Iterator[None]:
    """Holds the lock of a device.

    Raises UsageError at once when another command has it, and says which.
    """
    folder = platformdirs.user_state_path("mvkit") / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    # A serial may be any text; a digest of it is a file name.
    stem = folder / hashlib.sha256(serial.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    holder = stem.with_suffix(".json")
    # Not thread-local: several devices are measured in as many threads of one command.
    lock = FileLock(stem.with_suffix(".lock"), timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"{one_line(serial)}: in use by {_describe(holder)}", "wait for it, or stop it"
        ) from None
    try:
        _write(holder)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _write(holder: Path) -> None:
    me = {
        "process": os.getpid(),
        "user": getpass.getuser(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "since": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
    }
    staged = holder.with_suffix(".new")
    staged.write_text(json.dumps(me), encoding="utf-8")
    staged.replace(holder)


def _describe(holder: Path) -> str:
    try:
        who = json.loads(holder.read_text(encoding="utf-8"))
        text = "'{command}' (process {process} of {user}, since {since})".format(**who)
    except (OSError, ValueError, KeyError, TypeError):
        return "another command"  # which has not written it yet, or is just ending
    return one_line(text)
