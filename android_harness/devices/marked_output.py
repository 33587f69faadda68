"""The output of a shell command between marks, which prove that it came to its end.

`adb shell` may exit 0 when the phone dies in the middle of a command, and without the feature
shell_v2 it always does. A mark before the command gives its process id, one after it its exit
status; without the second the command did not end.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from .following import Lines


class MarkedOutput:
    """Feeds on what adb prints; `on_line` is given each line of the command's own."""

    def __init__(self, on_line: Callable[[str], None] | None = None) -> None:
        self.process: int | None = None
        self.code: int | None = None
        self._mark = f"mvkit-{secrets.token_hex(8)}"  # no output holds it by chance
        self._marked = re.compile(rf"{self._mark} (begin|end) (\d+)\r?".encode())
        self._on_line = on_line
        self._kept = bytearray()
        self._blank = False
        self._terminal = False
        self._lines = Lines(self._line)

    def marked(self, script: str, before: str = "") -> str:
        """The script with marks around it; it runs only if `before` ("cd x &&") does not fail."""
        start = f"{before} {{ echo '{self._mark} begin' $$\n{script}\n}}"
        return f"{start}\ncode=$?; echo; echo '{self._mark} end' $code"

    def feed(self, data: bytes) -> None:
        self._lines.feed(data)

    @property
    def text(self) -> str:
        """What the command printed, to the byte."""
        return self._kept.decode("utf-8", "replace")

    def _line(self, line: bytes) -> None:
        mark = self._marked.fullmatch(line)
        if mark is None:
            self._add(line)
        elif mark[1] == b"begin":
            self.process = int(mark[2])
            # Before Android 7 the shell has a terminal, which turns LF into CR LF.
            self._terminal = line.endswith(b"\r")
        else:
            self.code = int(mark[2])
            del self._kept[-1:]  # the line end before the mark is not the command's

    def _add(self, line: bytes) -> None:
        if self.process is None or self.code is not None:
            return
        if self._terminal:
            line = line.removesuffix(b"\r")
        self._kept += line + b"\n"
        if self._on_line is None:
            return
        # A blank line waits for the next: the one before the mark is not the command's.
        if self._blank:
            self._on_line("")
        self._blank = not line
        if line:
            self._on_line(line.decode("utf-8", "replace"))
