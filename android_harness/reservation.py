"""A device for one command alone, as a killed command may have left it put in order first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from converters.errors import DeviceError, one_line

from .devices.base import Device
from .lock import device_lock
from .settings import put_back

SCRATCH = "run"  # files of one command; what is pushed elsewhere stays for the next


@contextmanager
def reserved(device: Device, say: Callable[[str], None]) -> Iterator[None]:
    """Holds a device's lock; `SCRATCH` in its folder is empty at the start and gone at the end.

    `say` is told, in a line each, what a killed command had left. Raises UsageError when another
    command has the device.
    """
    with device_lock(device.serial):
        settle(device, say)
        try:
            yield
        finally:
            with suppress(DeviceError):  # the next command removes it
                device.remove(SCRATCH)


def clean(device: Device, say: Callable[[str], None]) -> None:
    """Removes all that the kit has left on a device.

    Raises DeviceError, and leaves what is known of them, when settings cannot be put back.
    """
    with device_lock(device.serial):
        if settle(device, say):
            raise DeviceError(f"{one_line(device.serial)}: not cleaned", "put that back by hand")
        device.clean()


def settle(device: Device, say: Callable[[str], None]) -> list[str]:
    """Ends processes, puts settings back and removes files that a killed command left.

    Also what this one left when its device was lost and came back.

    Returns what could not be put back.
    """
    shown = one_line(device.serial)
    count = device.stop_leftovers()
    if count:
        say(f"{shown}: stopped what a killed command had left running (processes: {count})")
    failed = put_back(device)
    if failed:
        say(f"{shown}: could not put back {', '.join(failed)}")
    device.remove(SCRATCH)
    return failed
