"""Ctrl-C for threads: each device is measured in one, and only the main thread is interrupted."""

from __future__ import annotations

import ctypes
import threading
import time

_SLICE = 0.2  # seconds; what is raised in a thread waits for the call that it is in


def pause(seconds: float) -> None:
    """Sleeps, and can be interrupted meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(_SLICE, left))


def interrupt(thread: threading.Thread) -> None:
    """Raises KeyboardInterrupt in a thread, as soon as it is in Python code again."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt)
        )
