"""A shelf of phones: every device is measured in a thread of its own, one file after another.

Files that take turns are a group, which is measured as one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from converters.errors import DeviceLost

from .devices.base import Device
from .interruption import interrupt
from .measure import Request, measure_in_turns
from .records import Measurement
from .store import Store

Group = Sequence[Request]


@dataclass(frozen=True)
class Outcome:
    """What became of a request of a group on a device: a measurement or an error."""

    serial: str
    group: Group
    request: Request
    measurement: Measurement | None = None
    error: Exception | None = None


class Listener(Protocol):
    """Who is told how it goes; called from the devices' threads."""

    def say(self, line: str) -> None: ...

    def phase(self, serial: str, group: Group, what: str) -> None: ...

    def done(self, outcome: Outcome) -> None: ...


def measure_all(
    devices: Sequence[Device], groups: Sequence[Group], store: Store, listener: Listener
) -> list[Outcome]:
    """Measures everything on every device; the outcomes by device, in the order of `devices`.

    What fails does not stop the rest, but a device that is gone, or that another command has, is
    not tried again. Ctrl-C ends all of them, with their settings put back; what was stored stays.
    """
    outcomes: dict[str, list[Outcome]] = {device.serial: [] for device in devices}

    # Not Thread.join: up to Python 3.12 one that Ctrl-C interrupts takes its thread for ended.
    ended = [threading.Event() for _ in devices]

    def work(device: Device, end: threading.Event) -> None:
        try:
            _measure_on(device, groups, store, listener, outcomes[device.serial].append)
        except KeyboardInterrupt:
            pass  # of the main thread, which raises its own
        finally:
            end.set()

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(devices, ended, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        _wait_for(ended)
    except BaseException:
        listener.say("stopping; what was measured is stored")
        for thread in threads:
            interrupt(thread)
        _wait_for(ended)
        raise
    return [one for device in devices for one in outcomes[device.serial]]


def _measure_on(
    device: Device,
    groups: Sequence[Group],
    store: Store,
    listener: Listener,
    keep: Callable[[Outcome], None],
) -> None:
    lost: DeviceLost | None = None
    for group in groups:
        if lost is None:
            outcomes = _measured(device, group, store, listener)
        else:
            outcomes = [Outcome(device.serial, group, request, error=lost) for request in group]
        for outcome in outcomes:
            if isinstance(outcome.error, DeviceLost):
                lost = outcome.error
            keep(outcome)
            listener.done(outcome)


def _measured(device: Device, group: Group, store: Store, listener: Listener) -> list[Outcome]:
    def phase(what: str) -> None:
        listener.phase(device.serial, group, what)

    try:
        found = measure_in_turns(device, group, store, say=listener.say, phase=phase)
    except Exception as error:  # of one device; a fault of ours must not stop the others either
        return [Outcome(device.serial, group, request, error=error) for request in group]
    return [
        Outcome(device.serial, group, request, one)
        for request, one in zip(group, found, strict=True)
    ]


def _wait_for(events: Sequence[threading.Event]) -> None:
    for event in events:
        event.wait()
