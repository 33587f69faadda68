"""What a phone says of itself: properties, temperatures, battery, screen and clocks.

Texts have the form in which Android prints them; see the recorded variants in
tests/android_harness/recorded.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from .files import PhoneFiles

PIXEL = {
    "ro.product.name": "raven",
    "ro.product.device": "raven",
    "ro.product.model": "Pixel 6 Pro",
    "ro.product.manufacturer": "Google",
    "ro.soc.manufacturer": "Google",
    "ro.soc.model": "GS101",
    "ro.board.platform": "gs101",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.hardware": "raven",
    "sys.boot_completed": "1",
}

_CPU = "/sys/devices/system/cpu"
_CORES = 4

# A phone that runs programs of this host, and says so, as no real one does.
RUNS_HERE = {**PIXEL, "ro.product.cpu.abilist": "host"}

_POWER = """POWER MANAGER (dumpsys power)

Power Manager State:
  mDirty=0x0
  mWakefulness=@WAKEFULNESS@
  mWakefulnessChanging=false
"""


class PhoneState:
    """Written as files, which the phone's programs read."""

    def __init__(self, files: PhoneFiles, properties: Mapping[str, str]) -> None:
        self._files = files
        self._properties: dict[str, str] = {}
        self.set_properties(properties)
        self.set_temperatures(skin=29.5)
        self.set_battery()
        self.set_dump("power", _POWER)
        self.set("wakefulness", "Awake")
        self.set("fixed-performance", "false")
        self.set("settings/global/stay_on_while_plugged_in", "0")
        for which in ("possible", "present"):  # XNNPACK does not start without them
            files.write(f"{_CPU}/{which}", f"0-{_CORES - 1}\n")
        for core in range(_CORES):
            top = 2_802_000 if core > 1 else 1_803_000
            self.set_clock(core, current=1_803_000, allowed=top)
            self.set_top_clock(core, top)

    def set(self, name: str, text: str) -> None:
        self._files.write(f"/state/{name}", f"{text}\n")

    def get(self, name: str) -> str:
        return self._files.path(f"/state/{name}").read_text().strip()

    def has(self, name: str) -> bool:
        return self._files.path(f"/state/{name}").exists()

    def remove(self, name: str) -> None:
        """Takes away a service or an ability: a setting that is not there, a dump."""
        self._files.path(f"/state/{name}").unlink(missing_ok=True)

    def set_properties(self, changed: Mapping[str, str]) -> None:
        self._properties |= changed
        lines = [f"[{name}]: [{value}]" for name, value in self._properties.items()]
        self._files.write("/state/properties", "\n".join(lines) + "\n")

    def property(self, name: str) -> str:
        return self._properties.get(name, "")

    def set_dump(self, service: str, text: str) -> None:
        self._files.write(f"/state/dumpsys/{service}", text)

    def set_temperatures(self, *, status: int = 0, skin: float, cpu: float = 41.0) -> None:
        self.set_dump(
            "thermalservice",
            "IsStatusOverride: false\n"
            "ThermalEventListeners:\n\tcallbacks: 2\n"
            f"Thermal Status: {status}\n"
            "Cached temperatures:\n"
            "\tTemperature{mValue=99.0, mType=3, mName=VIRTUAL-SKIN, mStatus=3}\n"
            "HAL Ready: true\nHAL connection:\n\tThermalHAL 2.0 connected: yes\n"
            "Current temperatures from HAL:\n"
            f"\tTemperature{{mValue={cpu}, mType=0, mName=BIG, mStatus=0}}\n"
            f"\tTemperature{{mValue={skin}, mType=3, mName=VIRTUAL-SKIN, mStatus={status}}}\n"
            "Current cooling devices from HAL:\n"
            "\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}\n",
        )

    def set_battery(
        self, *, level: int = 87, temperature: float = 28.4, powered: bool = True, status: int = 2
    ) -> None:
        """`status` is Android's BatteryManager's: 2 charging, 3 discharging, 5 full."""
        self.set_dump(
            "battery",
            "Current Battery Service state:\n  AC powered: false\n"
            f"  USB powered: {str(powered).lower()}\n  Wireless powered: false\n"
            f"  status: {status}\n  health: 2\n  present: true\n  level: {level}\n"
            f"  scale: 100\n  voltage: 4310\n  temperature: {round(10 * temperature)}\n"
            "  technology: Li-ion\n",
        )

    def set_clock(self, core: int, *, current: int, allowed: int) -> None:
        """In kHz."""
        folder = f"{_CPU}/cpu{core}/cpufreq"
        self._files.write(f"{folder}/scaling_cur_freq", f"{current}\n")
        self._files.write(f"{folder}/scaling_max_freq", f"{allowed}\n")

    def set_top_clock(self, core: int, clock: int | None) -> None:
        """What the hardware allows (kHz); None for a kernel that does not tell."""
        path = f"{_CPU}/cpu{core}/cpufreq/cpuinfo_max_freq"
        if clock is None:
            self._files.path(path).unlink()
        else:
            self._files.write(path, f"{clock}\n")
