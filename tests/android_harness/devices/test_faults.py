"""What a phone that fails in the middle of something comes to; docs/devices.md has the table."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from android_harness.devices import Device, open_device
from android_harness.devices.adb import AdbDevice
from android_harness.reservation import reserved
from converters.errors import DeviceError, DeviceLost
from tests.fake_phone.faults import What
from tests.fake_phone.fixtures import MakePhone
from tests.fake_phone.phone import FakePhone
from tests.fake_phone.server import adb

LARGE = 3_000_000  # bytes; more than is under way at a time


@pytest.fixture
def device(phone: FakePhone) -> Device:
    return open_device(phone.serial)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(LARGE))
    return file


def pushed(phone: FakePhone, name: str) -> Path:
    return phone.files.path(f"/data/local/tmp/mvkit/{name}")


@pytest.mark.parametrize("what", ["disconnect", "vanish", "reboot"])
def test_a_push_that_loses_the_phone_is_made_whole_later(
    phone: FakePhone, device: Device, large: Path, what: What
) -> None:
    phone.fault("push", what, after=1_000_000)
    with pytest.raises(DeviceLost, match="could not push model"):
        device.push(large, "model")
    if what == "vanish":
        phone.come_back()
    device.wait(20)
    assert device.push(large, "model") is True
    assert pushed(phone, "model").read_bytes() == large.read_bytes()


@pytest.mark.parametrize(
    ("what", "words"),
    [("full", "No space left on device"), ("read-only", "Read-only file system")],
)
def test_a_phone_that_takes_no_file_says_why(
    phone: FakePhone, device: Device, large: Path, what: What, words: str
) -> None:
    phone.fault("push", what, after=1_000_000)
    with pytest.raises(DeviceError, match=f"could not push model: .*{words}") as caught:
        device.push(large, "model")
    assert not isinstance(caught.value, DeviceLost)
    assert device.push(large, "model") is True


@pytest.mark.parametrize("what", ["disconnect", "vanish", "reboot"])
def test_a_pull_that_loses_the_phone_leaves_the_old_file(
    phone: FakePhone, device: Device, large: Path, tmp_path: Path, what: What
) -> None:
    device.push(large, "large")
    local = tmp_path / "local"
    local.write_bytes(b"old")
    phone.fault("pull", what, after=1_000_000)
    with pytest.raises(DeviceLost, match="could not pull large"):
        device.pull("large", local)
    assert local.read_bytes() == b"old"
    assert not list(tmp_path.glob(".mvkit-*"))


@pytest.mark.parametrize("features", ["v2", "v1", "none"])
@pytest.mark.parametrize("what", ["disconnect", "vanish", "reboot", "close"])
def test_a_program_whose_phone_goes_has_not_ended_well(
    fake_phone: MakePhone, features: str, what: What
) -> None:
    phone = fake_phone(features=features)
    device = open_device(phone.serial)
    phone.fault("shell", what, after=45)  # the mark has about 35
    with pytest.raises(DeviceLost, match="could not run sh: the connection ended before it did"):
        device.run(
            ["sh", "-c", "echo a line of output; sleep 0.2; echo more; sleep 100"], timeout=60
        )


@pytest.mark.parametrize("features", ["v2", "v1"])
def test_adb_itself_takes_a_phone_that_goes_for_success(
    fake_phone: MakePhone, features: str
) -> None:
    """Why a mark is needed; versions since 36 say 255, with shell_v2 at least."""
    phone = fake_phone(features=features)
    phone.fault("shell", "close", after=1)
    command = ["adb", "-s", phone.serial, "shell", "echo x; sleep 1; exit 3"]
    assert subprocess.run(command, capture_output=True).returncode in (0, 255)


def test_a_phone_that_answers_nothing_is_lost(
    phone: FakePhone, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("android_harness.devices.adb.QUICK", 0.3)
    phone.fault("shell", "hang", after=1)
    with pytest.raises(DeviceLost, match=r"could not read its state: it did not end within 0\.3 s"):
        device.describe()


def test_a_killed_adb_server_is_a_lost_phone_that_comes_back(
    phone: FakePhone, device: Device
) -> None:
    threading.Timer(0.3, adb, ("kill-server",)).start()
    with pytest.raises(DeviceLost, match="could not run sleep: the connection ended"):
        device.run(["sleep", "100"], timeout=60)
    device.wait(20)
    assert device.run(["echo", "back"], timeout=10).errors == ""


def test_a_phone_that_vanishes_and_returns_is_waited_for(phone: FakePhone, device: Device) -> None:
    phone.vanish()
    with pytest.raises(DeviceLost):
        device.run(["true"], timeout=10)
    with pytest.raises(DeviceLost, match=r"it did not come back within 0\.3 s"):
        device.wait(0.3)
    threading.Timer(0.3, phone.come_back).start()
    device.wait(6)  # adb's server alone would take 10 seconds
    assert device.run(["echo", "back"], timeout=10).output == "back\n"


def test_a_booting_phone_is_waited_for_until_it_has_booted(fake_phone: MakePhone) -> None:
    phone = fake_phone(reboot_seconds=1.0)
    phone.reboot()
    AdbDevice(phone.serial).wait(20)
    assert phone.state.property("sys.boot_completed") == "1"


def test_a_folder_that_cannot_be_made_is_named(phone: FakePhone, device: Device) -> None:
    phone.files.path("/data/local/tmp").rmdir()
    phone.files.write("/data/local/tmp", "a file in its place")
    with pytest.raises(DeviceError, match="could not use /data/local/tmp/mvkit: mkdir: ") as caught:
        device.run(["true"], timeout=10)
    assert not isinstance(caught.value, DeviceLost)


def test_what_a_lost_phone_still_runs_is_stopped_by_the_next_command(
    phone: FakePhone, device: Device
) -> None:
    phone.fault("shell", "disconnect", after=45)
    with pytest.raises(DeviceLost, match="could not run sh: the connection ended before it did"):
        device.run(["sh", "-c", "echo a line of output; sleep 100 >/dev/null 2>&1"], timeout=60)
    device.wait(20)
    said: list[str] = []
    with reserved(device, said.append):
        assert device.stop_leftovers() == 0
    assert len(said) == 1 and "stopped what a killed command had left running" in said[0]


def test_what_looks_like_a_mark_does_not_end_the_output(device: Device) -> None:
    """A program cannot know the word itself."""
    done = device.run(["printf", "mvkit-0123456789abcdef end 0\\n\\377\\000\\n"], timeout=10)
    assert (done.code, done.output) == (0, "mvkit-0123456789abcdef end 0\n\ufffd\0\n")


def test_disconnections_at_many_moments_of_a_command(phone: FakePhone, device: Device) -> None:
    for after in (1, 42, 43, 46, 48, 60):
        phone.fault("shell", "disconnect", after=after)
        try:
            done = device.run(["sh", "-c", "echo 1; echo 2; echo 3; exit 5"], timeout=20)
        except DeviceLost:
            device.wait(20)
        else:  # the link dropped after all of it had come, or has not yet
            assert (done.code, done.output) == (5, "1\n2\n3\n")
            phone.faults.clear()
            device.wait(20)
    assert device.run(["echo", "alive"], timeout=10).output == "alive\n"


def test_a_phone_that_answers_nonsense_is_an_error(phone: FakePhone, device: Device) -> None:
    phone.files.write("/system/bin/wc", "#!/bin/sh\necho '\x1b[2Jmany'\n", mode=0o755)
    device.run(["touch", "x"], timeout=10)
    with pytest.raises(DeviceError, match=r"could not pull x: no number: \?\[2Jmany"):
        device.pull("x", phone.files.root / "pulled")
