"""Which devices there are, and which one is meant."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from converters.errors import MvkitError, UsageError, one_line

from ..records import Conditions, DeviceInfo
from .adb import AdbDevice
from .adb_tool import Listed, list_devices
from .base import Device

HOST = "host"
ALL = "all"


@dataclass(frozen=True)
class Seen:
    """A device as `mvkit devices` shows it; what a device in another state hides is None."""

    serial: str
    state: str  # "ready", or adb's: "unauthorized", "offline", "no permissions", ...
    advice: str | None = None
    info: DeviceInfo | None = None
    conditions: Conditions | None = None


def find_devices() -> list[Seen]:
    """The phones and emulators that adb knows, asked at the same time, in adb's order.

    Raises UsageError where adb is not installed.
    """
    listed = list_devices()
    if not listed:
        return []
    with ThreadPoolExecutor(len(listed)) as pool:
        return list(pool.map(_look, listed))


def host_seen() -> Seen:
    device = _host()
    return Seen(HOST, "ready", None, device.describe(), device.conditions())


def open_device(serial: str | None = None) -> Device:
    """The device of this serial, or "host"; None stands for ANDROID_SERIAL or the only one."""
    if serial is None:
        serial = os.environ.get("ANDROID_SERIAL") or _the_only_one()
    if serial == HOST:
        return _host()
    listed = list_devices()
    for one in listed:
        if one.serial == serial:
            return _opened(one)
    known = ", ".join(one_line(one.serial) for one in listed) or "none"
    raise UsageError(
        f"{one_line(serial)}: no such device; adb knows {known}",
        "see mvkit devices; 'host' is this machine",
    )


def open_devices(names: Sequence[str]) -> list[Device]:
    """Each device once, in the order named; "all" is every phone that is ready, not the host."""
    devices: dict[str, Device] = {}
    for name in names:
        if name == ALL:
            ready = [one for one in list_devices() if one.state == "ready"]
            if not ready:
                raise UsageError("no phone is ready", "see mvkit devices for what to do")
            devices |= {one.serial: AdbDevice(one.serial) for one in ready}
        else:
            devices[name] = open_device(name)
    return list(devices.values()) or [open_device()]


def _the_only_one() -> str:
    listed = list_devices()
    ready = [one for one in listed if one.state == "ready"]
    if len(ready) == 1:
        return ready[0].serial
    if not listed:
        raise UsageError("no phone is connected", "connect one, or name this machine: host")
    if not ready:
        _opened(listed[0])
    names = ", ".join(one_line(one.serial) for one in ready)
    raise UsageError(f"{len(ready)} phones are connected: {names}", "name one, or 'all'")


def _opened(listed: Listed) -> AdbDevice:
    if listed.state != "ready":
        raise UsageError(f"{one_line(listed.serial)}: {one_line(listed.state)}", listed.advice)
    return AdbDevice(listed.serial)


def _look(listed: Listed) -> Seen:
    if listed.state != "ready":
        return Seen(listed.serial, listed.state, listed.advice)
    try:
        return Seen(listed.serial, "ready", None, *AdbDevice(listed.serial).look())
    except MvkitError as error:
        return Seen(listed.serial, "no answer", str(error))


def _host() -> Device:
    from .host import HostDevice  # needs the extra lab

    return HostDevice()
