"""The state of a phone: temperatures, throttling, battery, screen and clocks.

`ANDROID_SCRIPT` reads all of it in one call and `parse_conditions` understands what it printed.
What a phone does not tell is None or missing; nothing is taken from elsewhere in its place.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from converters.errors import DeviceError, one_line

from .interruption import pause
from .records import Clock, Conditions

if TYPE_CHECKING:
    from .devices.base import Device

SECTION = "mvkit-section"  # begins a line before each part of what the script prints

ANDROID_SCRIPT = f"""
echo; echo {SECTION} thermal; dumpsys thermalservice
echo; echo {SECTION} battery; dumpsys battery
echo; echo {SECTION} power; dumpsys power | grep -e mWakefulness= -e 'Display Power: state='
echo; echo {SECTION} clocks
for file in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_[cm][ua][rx]_freq; do
    if read value <"$file"; then echo "${{file#/sys/devices/system/}} $value"; fi
done
"""

_LINES = re.MULTILINE
_SECTIONS = re.compile(rf"^{SECTION} (\w+)\r?\n(.*?)(?=^{SECTION} |\Z)", _LINES | re.DOTALL)

# Types of android.hardware.thermal (TemperatureType.aidl). Those of the battery's current limiter
# (6 to 8: voltage, current, percentage) are no temperatures and are left out.
_KINDS = {
    0: "cpu", 1: "gpu", 2: "battery", 3: "skin", 4: "usb", 5: "power-amplifier", 9: "npu",
    10: "tpu", 11: "display", 12: "modem", 13: "soc", 14: "wifi", 15: "camera",
    16: "flashlight", 17: "speaker", 18: "ambient", 19: "pogo",
}  # fmt: skip

_HAL = re.compile(
    r"^Current temperatures from HAL:(.*?)^Current cooling devices", _LINES | re.DOTALL
)
_SENSOR = re.compile(r"Temperature\{mValue=(\S+), mType=(-?\d+), mName=([^,\n]*), mStatus=\d+\}")
_SUPPLY = re.compile(r"^  (?:AC|USB|Wireless|Dock) powered: (true|false)\r?\n", _LINES)
_CLOCK = re.compile(r"^.*cpu/cpu(\d{1,4})/cpufreq/scaling_(cur|max)_freq (\d{1,9})\r?\n", _LINES)


def parse_conditions(text: str) -> Conditions:
    """What `ANDROID_SCRIPT` printed; of a text that was cut, what is whole."""
    sections = dict(_SECTIONS.findall(text))
    thermal, battery = sections.get("thermal", ""), sections.get("battery", "")
    tenths = _battery_number("temperature", battery)
    return Conditions(
        moment=datetime.now(UTC),
        thermal_status=_thermal_status(thermal),
        temperatures=_temperatures(thermal),
        battery_level=_battery_level(battery),
        battery_temperature=None if tenths is None else tenths / 10,
        charging=_charging(battery),
        screen_on=_screen_on(sections.get("power", "")),
        clocks=_clocks(sections.get("clocks", "")),
    )


def _thermal_status(text: str) -> int | None:
    found = re.search(r"^Thermal Status: ([0-6])\r?\n", text, _LINES)
    return int(found[1]) if found else None


def _temperatures(text: str) -> dict[str, float]:
    """By "kind/sensor" (°C), from the block that the HAL gave now: the cached one may be old."""
    block = _HAL.search(text)
    values = {}
    for value, kind, name in _SENSOR.findall(block[1]) if block else ():
        try:
            degrees = float(value)
        except ValueError:
            continue
        if int(kind) in _KINDS and math.isfinite(degrees):
            values[f"{_KINDS[int(kind)]}/{name}"] = degrees
    return values


def _battery_level(text: str) -> int | None:
    level, scale = _battery_number("level", text), _battery_number("scale", text) or 100
    return None if level is None or not 0 <= level <= scale else round(100 * level / scale)


def _battery_number(name: str, text: str) -> int | None:
    if "\n  present: false" in text:  # a board without one: its figures are placeholders
        return None
    found = re.search(rf"^  {name}: (-?\d{{1,9}})\r?\n", text, _LINES)
    return int(found[1]) if found else None


def _charging(text: str) -> bool | None:
    """Whether a supply is connected, full battery or not: the charger warms and boosts."""
    powered = _SUPPLY.findall(text)
    return "true" in powered if powered else None


def _screen_on(text: str) -> bool | None:
    """By the display's power where the dump gives it, else by the system's wakefulness."""
    display = re.search(r"Display Power: state=(\w+)\s", text)
    if display:
        return display[1] == "ON"
    awake = re.search(r"mWakefulness=(\w+)\s", text)
    return awake[1] in ("Awake", "Dreaming") if awake else None


def _clocks(text: str) -> dict[int, Clock]:
    read: dict[int, dict[str, int]] = {}
    for core, which, value in _CLOCK.findall(text):
        read.setdefault(int(core), {})[which] = int(value)
    return {core: Clock(one.get("cur"), one.get("max")) for core, one in sorted(read.items())}


def warmest(conditions: Conditions) -> tuple[str, float] | None:
    """The sensor that a limit applies to, and its temperature.

    The skin's, because throttling is steered by it and it cools slowly enough to be waited for;
    else the battery's; else the hottest there is.
    """
    sensors = conditions.temperatures
    skin = {name: value for name, value in sensors.items() if name.startswith("skin/")}
    if not skin and conditions.battery_temperature is not None:
        return "battery", conditions.battery_temperature
    chosen = skin or sensors
    name = max(chosen, key=chosen.__getitem__, default=None)
    return None if name is None else (name, chosen[name])


def wait_until_cool(
    device: Device,
    limit: float | None,
    *,
    timeout: float,
    say: Callable[[str], None],
    interval: float = 5.0,
) -> Conditions:
    """Waits until a device neither throttles nor is warmer than `limit` (°C).

    Returns the conditions that passed. A device that tells neither passes at once: its conditions
    show that nothing is known. `say` is told what is waited for, at each look; there is one every
    `interval` seconds. Raises DeviceError after `timeout` seconds, with the temperature.
    """
    start = time.monotonic()
    while True:
        conditions = device.conditions()
        reason = _too_warm(conditions, limit)
        if reason is None:
            return conditions
        left = timeout - (time.monotonic() - start)
        if left <= 0:
            raise DeviceError(
                f"{one_line(device.serial)}: after {timeout:g} s it is still {reason}",
                "let it rest in a cool place",
            )
        say(reason)
        pause(min(interval, left))


def _too_warm(conditions: Conditions, limit: float | None) -> str | None:
    if conditions.thermal_status:
        return f"throttled (thermal status {conditions.thermal_status})"
    sensor = warmest(conditions)
    if limit is None or sensor is None or sensor[1] <= limit:
        return None
    return f"{sensor[1]:.1f} °C warm ({one_line(sensor[0])}; limit {limit:.1f} °C)"
