"""What the harness relies on, on a phone of yours.

It uses the phone as `mvkit bench` does: in /data/local/tmp/mvkit, which is removed at the end, and
with settings that are put back. Programs that are not there are skipped, with the reason:

    mvkit              build it for the phone's ABI: mvkit runner build --abi arm64-v8a ...
    benchmark_model    MVKIT_BENCHMARK_MODEL=/data/local/tmp/benchmark_model
    executor_runner    MVKIT_EXECUTOR_RUNNER=/data/local/tmp/executor_runner
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from android_harness.conditions import warmest
from android_harness.cores import core_mask
from android_harness.devices import Device, open_device
from android_harness.measure import Request, measure
from android_harness.records import Options
from android_harness.reservation import SCRATCH, clean, reserved
from android_harness.runners.choice import choose_runner
from android_harness.settings import RECORD, SETTINGS, changed
from android_harness.store import open_store
from converters import load_artifact
from converters.errors import DeviceError, UsageError

pytestmark = pytest.mark.device

SHORT = Options(repeats=3, warmup=2, iterations=10, min_seconds=0.1)
PROGRAMS = {"benchmark_model": "MVKIT_BENCHMARK_MODEL", "executor_runner": "MVKIT_EXECUTOR_RUNNER"}
HOSTILE = "$(reboot) `id`; 'x' \"y\" & \\ é"


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Device:
    return open_device(request.config.getoption("--serial"))


@pytest.fixture
def alone(device: Device) -> Iterator[Device]:
    with reserved(device, print):
        device.run(["mkdir", "-p", SCRATCH], timeout=20)
        yield device


def state(device: Device) -> dict[str, str | None]:
    """What a measurement changes, as far as it can be read."""
    return {name: setting.read(device) for name, setting in SETTINGS.items()}


def test_it_says_what_it_is(device: Device) -> None:
    info = device.describe()
    print(info)
    assert info.kind == "adb" and info.model and info.abis
    assert info.os is not None and info.os.startswith("Android ")


def test_it_says_how_it_is(device: Device) -> None:
    conditions = device.conditions()
    print(conditions)
    assert conditions.battery_level is not None and 0 <= conditions.battery_level <= 100
    assert conditions.charging is not None and conditions.screen_on is not None
    sensor = warmest(conditions)
    assert sensor is not None and 0 < sensor[1] < 70
    assert conditions.clocks
    for clock in conditions.clocks.values():
        assert clock.allowed is None or 100_000 < clock.allowed < 10_000_000  # kHz


def test_its_cores_are_told_apart_or_it_is_said_why_not(alone: Device) -> None:
    try:
        big, little = (core_mask(name, alone, 1) for name in ("big", "little"))
    except UsageError as alike:
        pytest.skip(str(alike))
    assert big and little and not big & little
    print(f"big {big:x}, little {little:x}")
    done = alone.run(["taskset", f"{big:x}", "echo", "pinned"], timeout=20)
    assert (done.code, done.output) == (0, "pinned\n")


def test_programs_arguments_and_exit_codes(alone: Device) -> None:
    done = alone.run(["printf", "%s|", HOSTILE, "", "*"], timeout=20)
    assert (done.code, done.output) == (0, f"{HOSTILE}||*|")
    assert alone.run(["sh", "-c", "exit 3"], timeout=20).code == 3
    assert alone.run(["sh", "-c", "kill -9 $$"], timeout=20).code == 137
    assert alone.run(["./no-such-program"], timeout=20).code == 127


def test_files_go_there_once_and_come_back(alone: Device, tmp_path: Path) -> None:
    local, back = tmp_path / "local", tmp_path / "back"
    local.write_bytes(os.urandom(3_000_000))
    name = f"{SCRATCH}/{HOSTILE}"
    assert alone.push(local, name) is True
    assert alone.push(local, name) is False
    alone.pull(name, back)
    assert back.read_bytes() == local.read_bytes()


def test_what_hangs_is_stopped_with_its_children(alone: Device) -> None:
    with pytest.raises(DeviceError, match="it did not end within 1 s; it was stopped"):
        alone.run(["sh", "-c", "sleep 100 & sleep 100"], timeout=1)
    assert alone.stop_leftovers() == 0


def test_settings_are_changed_and_put_back(alone: Device) -> None:
    before = state(alone)
    said: list[str] = []
    with changed(alone, tuple(SETTINGS), said.append) as taken:
        print(f"taken: {', '.join(taken)}")
        assert "stay-awake" in taken
        assert alone.conditions().screen_on is True
    assert said == [] and state(alone) == before


@pytest.mark.parametrize(
    ("program", "target"),
    [
        ("mvkit", "tflite"),
        ("mvkit", "executorch"),
        ("benchmark_model", "tflite"),
        ("executor_runner", "executorch"),
    ],
)
def test_a_measurement(
    device: Device,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    program: str,
    target: str,
) -> None:
    chosen = program
    if program in PROGRAMS:
        place = os.environ.get(PROGRAMS[program])
        if not place:
            pytest.skip(f"{PROGRAMS[program]} does not say where {program} is")
        chosen = f"{program}={place}"
    file = request.config.getoption("--file")
    if file is None:  # made here, which needs PyTorch
        artifact = request.getfixturevalue("converted")("classifier", target)
    else:
        artifact = load_artifact(file)
        if artifact.manifest.target != target:
            pytest.skip(f"--file is no {target} file")
    runner = choose_runner(chosen, artifact.manifest)
    try:
        runner.files(device.describe().abis)
    except UsageError as missing:
        pytest.skip(str(missing))
    before = state(device)
    with open_store(tmp_path / "runs.sqlite", create=True) as store:
        found = measure(device, Request(artifact, runner, SHORT), store, say=print)
        [summary] = store.select()
    print(summary.medians, found.validity, found.reasons)
    assert found.parity is not None
    # Official programs may give no outputs; ours does.
    assert found.parity.verdict in (("pass",) if program == "mvkit" else ("pass", "unverified"))
    assert len(found.repeats) == SHORT.repeats
    for one in found.repeats:
        assert one.timings.samples or one.timings.summary
    assert state(device) == before
    assert device.run(["ls", SCRATCH, RECORD], timeout=20).output == ""


def test_nothing_is_left(device: Device) -> None:
    clean(device, print)
    listed = subprocess.run(
        ["adb", "-s", device.serial, "shell", "ls", "/data/local/tmp"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert listed.returncode == 0 and "mvkit" not in listed.stdout.split()
