"""One command at a time on a device."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from android_harness.lock import device_lock
from converters.errors import UsageError

HOLDS = """
import sys, time
from android_harness.lock import device_lock
with device_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(100)
"""


@contextmanager
def another_process_holding(serial: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDS, serial]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_held_device_is_refused_and_its_holder_named() -> None:
    with another_process_holding("R5CT") as process:
        with pytest.raises(UsageError) as caught, device_lock("R5CT"):
            pass
        text = str(caught.value)
        assert text.startswith("R5CT: in use by '-c R5CT' (process ")
        assert f"(process {process.pid} of " in text and text.endswith("; wait for it, or stop it")
        with device_lock("another"):
            pass


def test_a_lock_ends_with_its_process_however_that_ends() -> None:
    with another_process_holding("R5CT") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with device_lock("R5CT"):
            pass


def test_a_lock_ends_with_an_error() -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), device_lock("R5CT"):
            raise ZeroDivisionError


def test_one_process_cannot_have_it_twice() -> None:
    with device_lock("R5CT"), pytest.raises(UsageError, match="in use by"), device_lock("R5CT"):
        pass
    with device_lock("R5CT"):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"command": "x"}', '"x"'])
def test_a_holder_that_cannot_be_read_is_still_a_holder(tmp_path: Path, text: str) -> None:
    with device_lock("R5CT"):
        [holder] = (tmp_path / "state").rglob("*.json")
        holder.write_text(text)
        words = "R5CT: in use by another command"
        with pytest.raises(UsageError, match=words), device_lock("R5CT"):
            pass


def test_hostile_text_makes_neither_paths_nor_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["mvkit", "bench", "\x1b[2J\n"])
    serial = "../../" + "x" * 300 + "\x1b[2J\n\udcff"
    with device_lock(serial), pytest.raises(UsageError) as caught, device_lock(serial):
        pass
    assert str(caught.value).isprintable()
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert files and all(p.parent == tmp_path / "state" / "mvkit" / "locks" for p in files)
