"""Runners on a phone, as a measurement uses them: on this host's processor and on 64-bit Arm.

On the second the shell and the runner are Arm's own: real Arm inference, whose times mean nothing.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from android_harness.bundles import Bundle
from android_harness.devices import Device, open_device
from android_harness.records import Clock
from android_harness.runners.base import Job
from android_harness.runners.mvkit import MvkitRunner
from converters import Artifact
from converters.errors import DeviceError, UsageError
from tests.android_harness.leftovers import left_running, working_in
from tests.android_harness.runners.native import QUICK, raw_inputs, raw_outputs
from tests.fake_phone.fixtures import Tier
from tests.fake_phone.phone import FakePhone

Place = Callable[[str], Job]


@pytest.fixture
def device(tiered_phone: FakePhone) -> Device:
    return open_device(tiered_phone.serial)


@pytest.fixture
def place(
    tier: Tier,
    device: Device,
    bundled: Callable[..., Bundle],
    converted: Callable[..., Artifact],
    tmp_path: Path,
) -> Place:
    """`place(target)` pushes file, golden inputs and the bundle that the phone's ABIs choose."""

    def push(target: str) -> Job:
        try:
            bundle = bundled(target, tier.abi)
        except UsageError as missing:
            pytest.skip(str(missing))
        chosen = MvkitRunner(target).files(device.describe().abis)
        assert chosen == bundle.path
        artifact = converted("classifier", target)
        inputs = [Path(file) for file in raw_inputs(artifact, artifact.golden()[0], tmp_path)]
        for file in (chosen, artifact.path, *inputs):
            device.push(file, file.name)
        return Job(artifact.path.name, tuple(file.name for file in inputs), "out", QUICK)

    return push


@pytest.fixture
def hanging(place: Place, tiered_phone: FakePhone, device: Device) -> list[str]:
    """The command of a runner that waits for its input for ever."""
    job = place("tflite")
    os.mkfifo(tiered_phone.files.path(f"{device.folder}/pipe"))
    return MvkitRunner("tflite").command(replace(job, inputs=("pipe",)))


def test_the_phone_tells_its_processor_and_whether_that_is_emulated(
    device: Device, tier: Tier
) -> None:
    info = device.describe()
    assert (info.kind, info.abis, info.emulated) == ("adb", (tier.abi,), tier.emulated)
    shown = device.run(["uname", "-m"], timeout=20).output.strip()
    assert shown == ("aarch64" if tier.emulated else platform.machine())


def test_conditions_are_read(device: Device) -> None:
    found = device.conditions()
    assert found.temperatures == {"cpu/BIG": 41.0, "skin/VIRTUAL-SKIN": 29.5}
    assert (found.thermal_status, found.battery_level, found.screen_on) == (0, 87, True)
    assert found.clocks[3] == Clock(1_803_000, 2_802_000)


@pytest.mark.parametrize("target", ["tflite", "executorch"])
def test_outputs_are_the_golden_ones(
    device: Device,
    tier: Tier,
    place: Place,
    converted: Callable[..., Artifact],
    tmp_path: Path,
    target: str,
) -> None:
    runner = MvkitRunner(target)
    done = device.run(runner.command(place(target)), timeout=120)
    report = runner.read(done.output, done.errors)
    assert done.code == 0
    assert report.emulated == tier.emulated
    assert len(report.timings.samples or ()) == QUICK.iterations
    for i, output in enumerate(report.outputs):
        device.pull(f"out-{i}.bin", tmp_path / f"pulled-{i}.bin")
        assert (tmp_path / f"pulled-{i}.bin").stat().st_size == output.bytes
    artifact = converted("classifier", target)
    case = artifact.golden()[0]
    for name, array in raw_outputs(artifact, case, tmp_path / "pulled").items():
        wanted = case.outputs[name]
        assert np.abs(array - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_a_runner_that_hangs_is_stopped(
    tiered_phone: FakePhone, device: Device, hanging: list[str]
) -> None:
    # In the background it outlives the shell, which the lost connection ends.
    with pytest.raises(DeviceError, match=r"could not run sh: it did not end .*; it was stopped"):
        device.run(["sh", "-c", '"$@" & wait', "sh", *hanging], timeout=3)
    assert left_running(tiered_phone.files.path(device.folder)) == []


def test_a_runner_that_was_left_running_is_found(
    tiered_phone: FakePhone, device: Device, hanging: list[str]
) -> None:
    folder = tiered_phone.files.path(device.folder)
    device.run(["sh", "-c", '"$@" >/dev/null 2>&1 &', "sh", *hanging], timeout=20)
    end = time.monotonic() + 20
    while not any("mvkit-litert/mvkit-litert" in one for one in working_in(folder)):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert device.stop_leftovers() == 1
    assert left_running(folder) == []
