"""A folder of this host that stands for a phone's file system."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Of a path in a command. What else a command names is this host's: /proc, /dev.
_ROOTS = re.compile(r"(?<![\w./-])/(?=(?:data|sys|sdcard|system|vendor)(?:/|\b))")


class PhoneFiles:
    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """The host's path of an absolute path on the phone; none leads out of the folder."""
        return self.root / os.path.normpath(f"/{name}").lstrip("/")

    def translate(self, command: str) -> str:
        """A shell command in which the phone's paths are the host's."""
        return _ROOTS.sub(lambda _: f"{self.root}/", command)

    def write(self, name: str, text: str, *, mode: int = 0o644) -> Path:
        """Replaces a file as a whole: a command that reads it sees the old text or the new."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.new")
        staged.write_text(text)
        staged.chmod(mode)
        staged.replace(path)
        return path
