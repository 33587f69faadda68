"""Settings of a phone that are changed for a measurement, and put back whatever happens.

Before anything is changed, the old values are written to a file on the phone. A command that was
killed, or whose phone was gone when it ended, leaves that file, and the next command puts the
values back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from converters.errors import DeviceError, DeviceLost, one_line

from .devices.base import Device

RECORD = ".settings.json"

_QUICK = 15.0  # seconds for a command that sets or reads
_RETURN = 30.0  # seconds in which a phone that was lost may come back
_STAY_ON = "stay_on_while_plugged_in"
_ANY_SUPPLY = "15"  # AC 1, USB 2, wireless 4, dock 8: BatteryManager.BATTERY_PLUGGED_*


@dataclass(frozen=True)
class Setting:
    """How a setting is read, changed and put back: a word, None for one that is not there."""

    what: str
    read: Callable[[Device], str | None]
    change: Sequence[str]
    restore: Callable[[str], Sequence[str]]


def _performance(device: Device) -> str | None:
    """It cannot be read; no phone has it on by itself. Absent before Android 11."""
    return "false"


def _stay_on(device: Device) -> str | None:
    done = device.run(["settings", "get", "global", _STAY_ON], timeout=_QUICK)
    value = done.output.strip()
    return value if done.code == 0 and re.fullmatch(r"\d{1,2}|null", value) else None


def _stay_on_again(value: str) -> Sequence[str]:
    if value == "null":
        return ["settings", "delete", "global", _STAY_ON]
    return ["settings", "put", "global", _STAY_ON, value]


def _screen(device: Device) -> str | None:
    on = device.conditions().screen_on
    return None if on is None else "on" if on else "off"


SETTINGS: Mapping[str, Setting] = {
    "fixed-performance": Setting(
        "fixed performance mode",
        _performance,
        ["cmd", "power", "set-fixed-performance-mode-enabled", "true"],
        lambda value: ["cmd", "power", "set-fixed-performance-mode-enabled", value],
    ),
    "stay-awake": Setting(
        "staying awake while plugged in",
        _stay_on,
        ["settings", "put", "global", _STAY_ON, _ANY_SUPPLY],
        _stay_on_again,
    ),
    "screen": Setting(
        "the screen, which was switched on",
        _screen,
        ["input", "keyevent", "KEYCODE_WAKEUP"],
        lambda value: ["input", "keyevent", f"KEYCODE_{'WAKEUP' if value == 'on' else 'SLEEP'}"],
    ),
}


@contextmanager
def changed(
    device: Device, names: Sequence[str], say: Callable[[str], None]
) -> Iterator[tuple[str, ...]]:
    """Changes settings of `SETTINGS`, and gives the names of those that the phone took.

    They are put back at the end, also after Ctrl-C, and after a lost connection if the phone
    comes back soon. `say` is told what could not be put back.
    """
    before = {name: SETTINGS[name].read(device) for name in names}
    known = {name: value for name, value in before.items() if value is not None}
    taken: dict[str, str] = {}
    try:
        if known:
            _write(device, known)
        for name, value in known.items():
            if device.run(SETTINGS[name].change, timeout=_QUICK).code == 0:
                taken[name] = value
        if taken != known:
            _write(device, taken)
        yield tuple(taken)
    finally:
        if known:
            _put_back_or_say(device, tuple(known), say)


def put_back(device: Device) -> list[str]:
    """Puts back what a command left changed, this one or one that was killed.

    Returns what could not be, in words. Raises DeviceError when the phone cannot be asked.
    """
    record = _read(device)
    failed = []
    for name, value in list(record.items()):
        done = device.run(SETTINGS[name].restore(value), timeout=_QUICK)
        if done.code == 0:
            del record[name]
        else:
            failed.append(f"{SETTINGS[name].what} ({one_line(done.errors or done.output)})")
    if record:
        _write(device, record)
    else:
        device.remove(RECORD)
    return failed


def _put_back_or_say(device: Device, names: Sequence[str], say: Callable[[str], None]) -> None:
    failed, reason = [SETTINGS[name].what for name in names], ""
    try:
        try:
            failed = put_back(device)
        except DeviceLost:
            device.wait(_RETURN)
            failed = put_back(device)
    except DeviceError as error:
        reason = f" ({one_line(error)})"
    finally:  # after a second Ctrl-C too
        if failed:
            say(
                f"{one_line(device.serial)}: not put back: {', '.join(failed)}{reason}; "
                "the next command on this device tries again"
            )


def _write(device: Device, values: Mapping[str, str]) -> None:
    """Written beside and renamed: a record that is there is whole."""
    script = 'printf %s "$1" >"$2.new" && mv "$2.new" "$2"'
    command = ["sh", "-c", script, "sh", json.dumps(values), RECORD]
    done = device.run(command, timeout=_QUICK)
    if done.code != 0:
        raise DeviceError(
            f"{one_line(device.serial)}: could not note its settings: {one_line(done.errors)}"
        )


def _read(device: Device) -> dict[str, str]:
    """The record on the phone, as far as it is one: it comes from a device."""
    done = device.run(["cat", RECORD], timeout=_QUICK)
    if done.code != 0:
        return {}
    try:
        values = json.loads(done.output)
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    return {
        name: value
        for name, value in values.items()
        if name in SETTINGS and isinstance(value, str) and re.fullmatch(r"[a-z0-9]{1,5}", value)
    }
