"""Keeps the vendor tools' log lines off the user's terminal."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silenced(active: bool = True) -> Iterator[None]:
    """Swallows what the block writes to the process's standard output and error.

    The C++ parts write to the descriptors directly, so the descriptors themselves are redirected.
    When the block raises, the last lines go along as a note on the exception, for `--debug`.
    """
    if not active:
        yield
        return
    _flush()
    saved = os.dup(1), os.dup(2)
    level = logging.root.manager.disable
    with tempfile.TemporaryFile() as sink:
        try:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            logging.disable(logging.CRITICAL)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except Exception as error:
            _flush()
            sink.seek(max(0, sink.tell() - 4000))
            error.add_note("last output:\n" + sink.read().decode(errors="replace"))
            raise
        finally:
            _flush()
            logging.disable(level)
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)


def _flush() -> None:
    """Empties Python's buffers and those of C, whose text would else go where 1 and 2 then lead."""
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)
