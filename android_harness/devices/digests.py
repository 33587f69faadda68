"""Digests of what is pushed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's content and whether it may be executed; of all in a folder."""
    whole = hashlib.sha256()
    for name, file in _files(path):
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        whole.update(f"{name!r} {os.access(file, os.X_OK)} {content}\n".encode())
    return whole.hexdigest()


def digest_of_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for _, file in _files(path))


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Names below `path`, in order, with their files; "" for a file itself."""
    if not path.is_dir():
        yield "", path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield str(file.relative_to(path)), file
