"""The contract of a runner: a program on a device that runs a file and says how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..records import Options, ProfileRow, Timings


@dataclass(frozen=True)
class Job:
    """One process of a runner: which file, on which inputs, how. Paths are on the device."""

    model: str
    inputs: tuple[str, ...]  # raw little-endian arrays, in the order of the file's inputs
    outputs: str | None  # where raw outputs go, `outputs`-0.bin and so on; None if not wanted
    options: Options
    profile: bool = False
    memory: bool = False


@dataclass(frozen=True)
class Output:
    """A raw output as the runner had it; `crc32` is zlib's, of the file that it wrote."""

    bytes: int
    crc32: int


@dataclass(frozen=True)
class Report:
    """What a runner's output said.

    `emulated` is what the program noticed itself: it ran in QEMU's user mode, and its times mean
    nothing.
    """

    timings: Timings
    profile: tuple[ProfileRow, ...] = ()
    outputs: tuple[Output, ...] = ()
    emulated: bool = False


class Runner(Protocol):
    """A program and how it is spoken to."""

    @property
    def name(self) -> str: ...

    def files(self, abis: Sequence[str]) -> Path | None:
        """The bundle to push for a device with these ABIs; None for a program that is there.

        It is a folder or a file, and goes under its own name into the device's folder. Raises
        UsageError when there is no bundle for any of them, with what to build.
        """

    def command(self, job: Job) -> list[str]:
        """The program and its arguments, to be run in the device's folder.

        Raises UsageError for a job that this runner cannot do.
        """

    def read(self, output: str, errors: str) -> Report:
        """What the process printed, whatever its exit code.

        Raises DeviceError for output that is not a whole and sane report; the message is the
        program's own where it said what was wrong.
        """


@runtime_checkable
class RunnerInTurns(Runner, Protocol):
    """One whose processes can hold several files that take turns."""

    def command_in_turns(self, jobs: Sequence[Job]) -> list[str]:
        """As `command`, for jobs that differ in their files alone."""

    def read_in_turns(self, output: str, errors: str, count: int) -> list[Report]:
        """As `read`: a report for each of so many files, in their order."""
