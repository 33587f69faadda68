"""A device for one command alone, in order before and after."""

from __future__ import annotations

from pathlib import Path

import pytest

from android_harness.devices import Device, open_device
from android_harness.reservation import SCRATCH, clean, reserved
from converters.errors import DeviceLost, UsageError
from tests.fake_phone.phone import FakePhone


@pytest.fixture
def device(phone: FakePhone) -> Device:
    return open_device(phone.serial)


def test_two_commands_on_one_phone_are_one_too_many(device: Device) -> None:
    with reserved(device, print):
        with pytest.raises(UsageError, match="in use by"), reserved(device, print):
            pass
        with pytest.raises(UsageError, match="in use by"):
            clean(device, print)


def test_scratch_files_go_and_pushed_ones_stay(
    phone: FakePhone, device: Device, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.write_bytes(b"model")
    folder = phone.files.path(device.folder)
    device.run(["sh", "-c", f"mkdir {SCRATCH}; touch {SCRATCH}/old"], timeout=10)
    device.push(model, "model")
    said: list[str] = []
    with reserved(device, said.append):
        assert not (folder / SCRATCH).exists()
        device.run(["sh", "-c", f"mkdir {SCRATCH}; touch {SCRATCH}/new"], timeout=10)
    assert not (folder / SCRATCH).exists()
    assert device.push(model, "model") is False
    assert said == []


def test_a_lost_phone_is_the_error_and_not_its_tidying(phone: FakePhone, device: Device) -> None:
    with pytest.raises(DeviceLost, match="could not run true"), reserved(device, print):
        phone.vanish()
        device.run(["true"], timeout=10)
    with pytest.raises(DeviceLost), reserved(device, print):  # and the lock is free
        pass


def test_cleaning_leaves_nothing(phone: FakePhone, device: Device, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_bytes(b"model")
    device.push(model, "model")
    clean(device, print)
    assert list(phone.files.path("/data/local/tmp").iterdir()) == []
    assert device.push(model, "model") is True
