"""The programs of a phone: Android's shell and toybox where this host has them, and stand-ins.

The stand-ins for `getprop`, `dumpsys`, `cmd`, `settings`, `svc` and `input` are scripts that read
and write the folder `/state` of the phone's files, where tests read and write too.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Protocol

from .files import PhoneFiles

BIN = "/system/bin"

# What Android's shell has from toybox, as far as the harness and its tests call it.
APPLETS = (
    "cat", "chmod", "cp", "echo", "env", "false", "find", "grep", "head", "kill", "ln", "ls",
    "mkdir", "mv", "printf", "pwd", "readlink", "rm", "rmdir", "sed", "sha256sum", "sleep", "sort",
    "stat", "tail", "taskset", "touch", "true", "uname", "wc", "xargs", "yes",
)  # fmt: skip

_SCRIPTS = {
    "getprop": """
        if [ $# -eq 0 ]; then cat "$STATE/properties"; else
            sed -n "s/^\\[$1\\]: \\[\\(.*\\)\\]$/\\1/p" "$STATE/properties"; fi
        """,
    "dumpsys": """
        if [ ! -e "$STATE/dumpsys/$1" ]; then echo "Can't find service: $1" >&2; exit 20; fi
        if [ "$1" = power ]; then
            sed "s/@WAKEFULNESS@/$(cat "$STATE/wakefulness")/" "$STATE/dumpsys/power"
        else cat "$STATE/dumpsys/$1"; fi
        """,
    "cmd": """
        if [ "$1 $2" != "power set-fixed-performance-mode-enabled" ] ||
            [ ! -e "$STATE/fixed-performance" ]; then echo "Unknown command: $2"; exit 255; fi
        echo "$3" >"$STATE/fixed-performance"
        """,
    "settings": """
        file="$STATE/settings/$2/$3"
        case $1 in
            get) if [ -e "$file" ]; then cat "$file"; else echo null; fi ;;
            put) echo "$4" >"$file" ;;
            delete) rm -f "$file"; echo "Deleted 1 rows" ;;
        esac
        """,
    "input": """
        case $2 in
            KEYCODE_WAKEUP) echo Awake >"$STATE/wakefulness" ;;
            KEYCODE_SLEEP) echo Asleep >"$STATE/wakefulness" ;;
        esac
        """,
}


class Userland(Protocol):
    """A phone's programs, and how they are started."""

    @property
    def interpreter(self) -> Sequence[str]:
        """What starts the phone's shell, on this host."""

    @property
    def environment(self) -> Mapping[str, str]: ...

    def translate(self, command: str) -> str:
        """A shell command with the paths that its files have for these programs."""

    def close(self) -> None: ...


class HostUserland:
    """Programs of this host, on its processor."""

    def __init__(self, files: PhoneFiles) -> None:
        self._files = files
        shell = shutil.which("mksh") or "/bin/sh"  # Android's shell is mksh
        folder = files.path(BIN)
        folder.mkdir(parents=True)
        toybox = shutil.which("toybox")
        known = subprocess.check_output([toybox], text=True).split() if toybox else []
        for applet in APPLETS:
            program = toybox if applet in known else shutil.which(applet)
            assert program is not None, applet
            (folder / applet).symlink_to(program)
        (folder / "sh").symlink_to(shell)
        install_scripts(files, shell)
        self.interpreter = (shell,)
        self.environment = {
            "PATH": str(folder),
            "STATE": str(files.path("/state")),
            "HOME": "/",
        }

    def translate(self, command: str) -> str:
        return self._files.translate(command)

    def close(self) -> None:
        pass


def install_scripts(files: PhoneFiles, shell: str) -> None:
    """The stand-ins, for a shell at this path."""
    for name, text in _SCRIPTS.items():
        files.write(f"{BIN}/{name}", f"#!{shell}\n{text}", mode=0o755)
