"""Which cores of a device a program may run on."""

from __future__ import annotations

import re

from converters.errors import UsageError, one_line

from .devices.base import Device

_QUICK = 15.0  # seconds
_MASK = re.compile(r"(?:0x)?0*([0-9a-f]{1,16})", re.IGNORECASE)
# The hardware's limit; scaling_max_freq is what throttling leaves of it.
_SCRIPT = """\
for file in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq; do
    if read value <"$file"; then echo "$file $value"; fi
done
"""
_CLOCK = re.compile(r"cpu/cpu(\d{1,2})/cpufreq/cpuinfo_max_freq (\d{1,9})$", re.MULTILINE)


def parse_cores(text: str) -> str | int:
    """`big`, `little`, or a mask in hexadecimal digits, a bit for each core.

    Raises UsageError for anything else.
    """
    if text in ("big", "little"):
        return text
    found = _MASK.fullmatch(text)
    if found is None or int(found[1], 16) == 0:
        raise UsageError(
            f"--cores {one_line(text, 40)}: neither big, little nor a mask such as f0",
            "a bit for each core, in hexadecimal digits: 1 is core 0, f0 are cores 4 to 7",
        )
    return int(found[1], 16)


def core_mask(cores: str | int, device: Device, threads: int) -> int:
    """The mask of `parse_cores`' choice on this device, for so many threads.

    Little are the cores with the lowest top clock, big are all others. Raises UsageError where a
    device does not tell its clocks, or has all cores alike, and where there are fewer cores than
    threads.
    """
    mask = cores if isinstance(cores, int) else _cluster(cores, device)
    if mask.bit_count() < threads:
        shown = cores if isinstance(cores, str) else f"{cores:x}"
        raise UsageError(
            f"{one_line(device.serial)}: --threads {threads} is more than the cores of "
            f"--cores {shown} ({mask.bit_count()})",
            "name as many cores, or fewer threads",
        )
    return mask


def _cluster(name: str, device: Device) -> int:
    done = device.run(["sh", "-c", _SCRIPT], timeout=_QUICK)
    clocks = {int(core): int(clock) for core, clock in _CLOCK.findall(done.output)}
    lowest = min(clocks.values(), default=0)
    if len(set(clocks.values())) < 2:
        reason = "all its cores have the same clock" if clocks else "it does not tell its clocks"
        raise UsageError(
            f"{one_line(device.serial)}: no {name} cores: {reason}", "pass a mask to --cores"
        )
    return sum(
        1 << core for core, clock in clocks.items() if (clock == lowest) == (name == "little")
    )
