"""A shelf of phones: every device is measured in a thread of its own, one file after another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from converters.errors import DeviceLost, MvkitError

from .devices.base import Device
from .interruption import interrupt
from .measure import Request, measure
from .records import Measurement
from .store import Store


@dataclass(frozen=True)
class Outcome:
    """What became of a request on a device: a measurement or an error."""

    serial: str
    request: Request
    measurement: Measurement | None = None
    error: Exception | None = None


class Listener(Protocol):
    """Who is told how it goes; called from the devices' threads."""

    def say(self, line: str) -> None: ...

    def phase(self, serial: str, request: Request, what: str) -> None: ...

    def done(self, outcome: Outcome) -> None: ...


def measure_all(
    devices: Sequence[Device], requests: Sequence[Request], store: Store, listener: Listener
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
            _measure_on(device, requests, store, listener, outcomes[device.serial].append)
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
    requests: Sequence[Request],
    store: Store,
    listener: Listener,
    keep: Callable[[Outcome], None],
) -> None:
    lost: DeviceLost | None = None
    for request in requests:
        outcome = Outcome(device.serial, request, error=lost)
        if lost is None:
            outcome = _measured(device, request, store, listener)
        if isinstance(outcome.error, DeviceLost):
            lost = outcome.error
        keep(outcome)
        listener.done(outcome)


def _measured(device: Device, request: Request, store: Store, listener: Listener) -> Outcome:
    def phase(what: str) -> None:
        listener.phase(device.serial, request, what)

    try:
        found = measure(device, request, store, say=listener.say, phase=phase)
    except MvkitError as error:
        return Outcome(device.serial, request, error=error)
    except Exception as fault:  # of ours, on one device: it must not stop the others
        return Outcome(device.serial, request, error=fault)
    return Outcome(device.serial, request, found)


def _wait_for(events: Sequence[threading.Event]) -> None:
    for event in events:
        event.wait()
