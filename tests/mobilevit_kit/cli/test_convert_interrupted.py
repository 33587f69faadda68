"""`mvkit convert` that is interrupted, or finds the disk full, leaves nothing half written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.mobilevit_kit.commands import NET, NET_INPUT, NET_RECIPE, TO_TFLITE, Call, contents


def interrupt(
    args: Sequence[str], folder: Path, when: Callable[[int], bool]
) -> subprocess.CompletedProcess[str]:
    """Runs the command and presses Ctrl-C once `when` is true of its process id."""
    command = [Path(sys.executable).with_name("mvkit"), "convert", *args]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not when(process.pid):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.slow  # most of a real conversion
@pytest.mark.parametrize("models", [["net.py:make"], ["net.py:make", "net.py:Net", "--jobs", "2"]])
def test_ctrl_c_leaves_nothing_half_written(workplace: Path, models: list[str]) -> None:
    def converts(pid: int) -> bool:
        return any(workplace.glob("mvkit-out/.mvkit-*"))

    slow = ["--emitter", "litert"]  # the kit's own may have ended before the signal comes
    done = interrupt([*models, *TO_TFLITE, *NET_INPUT, *slow], workplace, converts)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip() == "mvkit: interrupted"
    assert contents(workplace) == {"net.py": NET.encode()}
    assert not any(Path("mvkit-out").glob("*"))


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the workers in /proc")
def test_ctrl_c_while_the_workers_start_is_one_line(workplace: Path) -> None:
    def starts(pid: int) -> bool:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return any(b"spawn_main" in Path(f"/proc/{n}/cmdline").read_bytes() for n in children)

    models = ["net.py:make", "net.py:Net", "--jobs", "2"]
    done = interrupt([*models, *TO_TFLITE, *NET_INPUT], workplace, starts)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip() == "mvkit: interrupted"
    assert contents(workplace) == {"net.py": NET.encode()}


@pytest.mark.slow  # most of a real conversion
@pytest.mark.parametrize("limit", [2_500, 12_000])  # within the file, within the golden tensors
def test_a_full_disk_leaves_nothing_half_written(
    mvkit_process: Call, workplace: Path, limit: int
) -> None:
    result = mvkit_process(
        "convert", "net.py:make", *TO_TFLITE, *NET_INPUT, *NET_RECIPE, "--no-verify",
        cwd=workplace, file_limit=limit,
    )  # fmt: skip
    assert (result.code, result.out) == (2, "")
    assert result.line == "cannot write to mvkit-out: File too large"
    assert contents(workplace) == {"net.py": NET.encode()}
