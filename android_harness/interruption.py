"""Ctrl-C for threads: each device is measured in one, and only the main thread is interrupted."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_SLICE = 0.2  # seconds; what is raised in a thread waits for the call that it is in

_turn = threading.Lock()
_shielded: set[int] = set()  # threads by their ident
_pending: set[int] = set()


def pause(seconds: float) -> None:
    """Sleeps, and can be interrupted meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(_SLICE, left))


def interrupt(thread: threading.Thread) -> None:
    """Raises KeyboardInterrupt in a thread, as soon as it is in Python code again.

    One that is shielded gets it at the end of that, or at once when it is interrupted again.
    """
    if thread.ident is None or not thread.is_alive():
        return
    with _turn:
        if thread.ident in _shielded and thread.ident not in _pending:
            _pending.add(thread.ident)
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt)
        )


@contextmanager
def shielded() -> Iterator[None]:
    """Lets `interrupt` count after the block: for what must be put right whatever happens."""
    me = threading.get_ident()
    with _turn:
        _shielded.add(me)
    try:
        yield
    finally:
        with _turn:
            _shielded.discard(me)
            interrupted = me in _pending
            _pending.discard(me)
    if interrupted:
        raise KeyboardInterrupt
