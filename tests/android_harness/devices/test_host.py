"""What is this host's own."""

from __future__ import annotations

import platform
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from android_harness.devices import open_device
from android_harness.records import Clock
from converters.errors import DeviceError


def test_it_is_described() -> None:
    info = open_device("host").describe()
    assert (info.serial, info.kind, info.emulated) == ("host", "host", False)
    assert info.model and info.os
    assert info.abis == ("host", platform.machine())


def test_its_sensors_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    sensors = {
        "coretemp": [SimpleNamespace(label="Package", current=51.0)],
        "acpitz": [SimpleNamespace(label="", current=30.0)],
    }
    battery = SimpleNamespace(percent=79.6, power_plugged=False)
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors, raising=False)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    cores = [SimpleNamespace(current=2400.5, max=3600.0), SimpleNamespace(current=800.0, max=0.0)]
    monkeypatch.setattr(psutil, "cpu_freq", lambda percpu: cores)
    seen = open_device("host").conditions()
    assert seen.temperatures == {"coretemp/Package": 51.0, "acpitz/0": 30.0}
    assert (seen.battery_level, seen.charging) == (80, False)
    assert seen.clocks == {0: Clock(2_400_500, 3_600_000), 1: Clock(800_000, None)}


def test_a_machine_without_sensors_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sensors_temperatures", "sensors_battery"):
        monkeypatch.delattr(psutil, name, raising=False)
    monkeypatch.setattr(psutil, "cpu_freq", lambda percpu: None)
    seen = open_device("host").conditions()
    assert (seen.temperatures, seen.battery_level, seen.charging, seen.clocks) == (
        {},
        None,
        None,
        {},
    )


def test_a_file_that_may_not_be_executed_is_126(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program")
    done = open_device("host").run([str(text)], timeout=10)
    assert (done.code, done.errors) == (126, f"{text}: Permission denied\n")


def test_what_a_killed_command_left_running_is_stopped() -> None:
    device = open_device("host")
    device.run(["true"], timeout=10)
    left, other = (subprocess.Popen(["sleep", "100"], cwd=cwd) for cwd in (device.folder, "/"))
    try:
        assert device.stop_leftovers() == 1
        assert left.wait(10) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for one in (left, other):
            one.kill()
            one.wait()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    with pytest.raises(DeviceError, match="host: could not run true: "):
        open_device("host").run(["true"], timeout=10)
