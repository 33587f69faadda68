"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from converters.errors import UsageError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, renamed to it if all goes well.

    Raises UsageError where nothing can be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=".mvkit-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise UsageError(f"cannot write to {path.parent}: {error.strerror or error}") from None
    unfinished = Path(name)
    try:
        yield unfinished
        umask = os.umask(0)
        os.umask(umask)
        unfinished.chmod(0o666 & ~umask)  # a temporary file is its owner's alone
        unfinished.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
