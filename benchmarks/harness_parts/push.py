"""A large file pushed to a fake phone: the first time, and again when it is there already.

What makes a push unnecessary is the content: the same content with another time and under another
name of this machine is skipped, and content that differs in one byte is pushed.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from android_harness.devices import open_device

from .part import Effort, Part, timed, timing_row
from .phones import adb_version, connected_phones

MEGABYTES = 200
METHOD = (
    f"{MEGABYTES} MB of random bytes through `Device.push`, to a fake phone behind the real adb; "
    "the fake phone writes to this machine's disk"
)


def measure(effort: Effort) -> Part:
    first, again, renamed, changed = [], [], [], []
    with connected_phones(1) as (phone,), tempfile.TemporaryDirectory() as folder:
        device = open_device(phone.serial)
        file, copy = Path(folder, "model.tflite"), Path(folder, "copy.tflite")
        for _ in range(effort.rounds):
            file.write_bytes(os.urandom(MEGABYTES * 10**6))
            copy.write_bytes(file.read_bytes())
            outcomes = []

            def push(local: Path, outcomes: list[bool] = outcomes) -> None:
                outcomes.append(device.push(local, "model.tflite"))

            first += timed(lambda: push(file), 1)
            again += timed(lambda: push(file), 1)
            renamed += timed(lambda: push(copy), 1)
            _change_a_byte(copy)
            changed += timed(lambda: push(copy), 1)
            if outcomes != [True, False, False, True]:
                raise AssertionError(f"pushes that were not skipped by content: {outcomes}")
    rows = [
        timing_row("the first time", first, 5.0),
        timing_row("again", again, 0.5),
        timing_row("again, a copy under another name", renamed, 0.5),
        timing_row("after one byte has changed", changed, 5.0),
    ]
    return Part(METHOD, rows, {"adb": adb_version()})


def _change_a_byte(file: Path) -> None:
    """Its size, and its time where the clock is coarse, stay as they are."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(MEGABYTES * 10**6 // 2)
        (byte,) = opened.read(1)
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
