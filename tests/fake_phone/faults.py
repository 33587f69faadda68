"""What can go wrong, and when: at so many bytes of a push, a pull or a shell's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Where = Literal["push", "pull", "shell"]
What = Literal[
    "disconnect",  # the link drops; the phone can be reached again at once
    "vanish",  # the link drops and nothing answers until `come_back`
    "reboot",  # as vanish; processes end, and it comes back by itself
    "close",  # the service ends without a word: the shell dies with no exit status
    "full",  # "No space left on device"
    "read-only",  # "Read-only file system"
    "hang",  # nothing more comes
]


class ServiceFailed(Exception):
    """A refusal that the service tells the host in the phone's own words."""


@dataclass
class Fault:
    where: Where
    what: What
    after: int = 0  # bytes of the stream
    times: int = 1


class Faults:
    """The faults that are still to come, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._coming: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._coming.append(fault)

    def clear(self) -> None:
        self._coming.clear()

    def due(self, where: Where, count: int) -> What | None:
        """What goes wrong now that a stream has come to `count` bytes."""
        for fault in self._coming:
            if fault.where == where and count >= fault.after:
                fault.times -= 1
                if fault.times == 0:
                    self._coming.remove(fault)
                return fault.what
        return None
