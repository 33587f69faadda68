"""The contract of a device: a place with a folder, where files are put and programs are run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from converters.errors import UsageError, one_line

from ..records import Conditions, DeviceInfo


@dataclass(frozen=True)
class Completed:
    """A program that ended. `code` is its own exit status, never that of the way to the device."""

    code: int
    output: str
    errors: str


class Device(Protocol):
    """A phone, an emulator or this host. It runs one program of the kit's at a time.

    Every method may raise `DeviceError`, which names the device and what it did not do;
    `DeviceLost` when it is gone. Paths on the device are below `folder`; nothing else of it is
    touched.
    """

    @property
    def serial(self) -> str: ...

    @property
    def folder(self) -> str: ...

    def describe(self) -> DeviceInfo: ...

    def conditions(self) -> Conditions: ...

    def push(self, local: Path, name: str) -> bool:
        """Puts a file, or a folder's files, at `folder`/`name`; False if they were there."""

    def pull(self, name: str, local: Path) -> None: ...

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Runs a program in `folder`, giving each line of its output as it comes.

        When the time (seconds) is up, or the caller is interrupted, it is stopped on the device
        too.
        """

    def remove(self, name: str) -> None:
        """Removes a file or folder below `folder`; nothing happens if it is not there."""

    def stop_leftovers(self) -> int:
        """Stops what an earlier command left running in `folder`; how many processes."""

    def clean(self) -> None:
        """Stops what is left running of the kit's and removes `folder`."""

    def wait(self, timeout: float) -> None:
        """Returns when a device that was lost takes commands again.

        Raises DeviceLost when it has not within the time (seconds).
        """


def inside(name: str) -> str:
    """A name below a device's folder, or UsageError for one that leads elsewhere."""
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
        raise UsageError(f"'{one_line(name)}' is no name below a device's folder")
    return "/".join(parts)
