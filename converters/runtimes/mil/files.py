"""Files inside a package, opened so that nothing outside it is ever read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...errors import ArtifactError, one_line


@dataclass(frozen=True)
class Regular:
    """A regular file that is open for reading."""

    path: Path
    descriptor: int
    size: int


def locate(root: Path, relative: str) -> Path:
    """Where `relative` stands in the folder `root`, which is resolved.

    Raises ArtifactError if there is nothing, and if the path leaves the folder: by `..`, as an
    absolute path or by a symbolic link.
    """
    parts = PurePosixPath(relative)
    shown = one_line(relative, 80)
    if not parts.parts or parts.is_absolute() or ".." in parts.parts or "\0" in relative:
        raise ArtifactError(f"{root}: names a file outside itself ({shown!r})")
    path = root.joinpath(*parts.parts)
    try:
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError):  # the latter for links that go in circles
        raise ArtifactError(f"{root}: {shown} is missing") from None
    if resolved != path:
        raise ArtifactError(f"{root}: {shown} is a symbolic link")
    return path


@contextmanager
def opened(path: Path) -> Iterator[Regular]:
    """Opens a regular file; anything else (folder, pipe, device, link) is an ArtifactError."""
    try:
        # A pipe without a writer would block, were it not for O_NONBLOCK.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ArtifactError(f"{path}: is not a regular file")
        yield Regular(path, descriptor, status.st_size)
    finally:
        os.close(descriptor)


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes."""
    with opened(path) as file:
        if file.size > limit:
            raise ArtifactError(f"{path}: has {file.size} bytes, more than the {limit} it may")
        try:
            with os.fdopen(os.dup(file.descriptor), "rb") as stream:
                return stream.read(limit)
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}") from None
