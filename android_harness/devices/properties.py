"""What `getprop` says a phone is."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..records import DeviceInfo

_LINE = re.compile(r"^\[([^]\n]+)\]: \[(.*)\]\r?$", re.MULTILINE)

# Virtual boards: Android's emulator, Cuttlefish, Genymotion, Waydroid.
_VIRTUAL = {"goldfish", "ranchu", "cutf", "cutf_cvm", "vbox86", "waydroid"}


def parse_properties(text: str) -> dict[str, str]:
    return dict(_LINE.findall(text))


def device_info(serial: str, properties: Mapping[str, str]) -> DeviceInfo:
    """What is missing is None: ro.soc.* came with API 31, abilist with Android 5."""

    def first(*names: str) -> str | None:
        return next((properties[name] for name in names if properties.get(name)), None)

    release, level = first("ro.build.version.release"), first("ro.build.version.sdk")
    abis = first("ro.product.cpu.abilist", "ro.product.cpu.abi") or ""
    soc = first("ro.soc.model")
    if soc is not None and soc != "UNKNOWN":
        soc = " ".join(filter(None, (first("ro.soc.manufacturer"), soc)))
    else:
        soc = first("ro.board.platform")
    return DeviceInfo(
        serial=serial,
        kind="adb",
        model=first("ro.product.model", "ro.product.device") or "unknown",
        soc=soc,
        os=f"Android {release}" + (f" (API {level})" if level else "") if release else None,
        abis=tuple(filter(None, abis.split(","))),
        emulated=_is_virtual(serial, properties),
    )


def _is_virtual(serial: str, properties: Mapping[str, str]) -> bool:
    return (
        serial.startswith("emulator-")
        or "1" in (properties.get("ro.kernel.qemu"), properties.get("ro.boot.qemu"))
        or bool(_VIRTUAL & {properties.get("ro.hardware", ""), properties.get("ro.boot.hardware")})
        or properties.get("ro.product.device", "").startswith(("vsoc_", "waydroid_", "emu64"))
    )
