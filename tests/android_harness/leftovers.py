"""What runs on a phone, as this host sees it: a phone's processes are this host's."""

from __future__ import annotations

import time
from pathlib import Path

import psutil


def working_in(folder: Path) -> list[list[str]]:
    """The command lines of the processes that work in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
        except (psutil.Error, OSError):
            continue
    return found


def left_running(folder: Path) -> list[list[str]]:
    """As `working_in`, but what was killed may take a moment to end."""
    end = time.monotonic() + 5
    while (found := working_in(folder)) and time.monotonic() < end:
        time.sleep(0.02)
    return found
