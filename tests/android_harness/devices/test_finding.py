"""Which devices there are, and which one is meant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from android_harness.devices import find_devices, open_device, open_devices
from android_harness.devices.adb import AdbDevice
from converters.errors import UsageError
from tests.fake_phone.fixtures import MakePhone
from tests.fake_phone.phone import FakePhone


def test_a_phone_is_described_with_its_state(phone: FakePhone) -> None:
    [seen] = find_devices()
    assert (seen.serial, seen.state, seen.advice) == (phone.serial, "ready", None)
    assert seen.info is not None and seen.conditions is not None
    assert (seen.info.model, seen.info.soc) == ("Pixel 6 Pro", "Google GS101")
    assert (seen.info.os, seen.info.emulated) == ("Android 14 (API 34)", False)
    assert seen.conditions.temperatures["skin/VIRTUAL-SKIN"] == 29.5
    assert (seen.conditions.battery_level, seen.conditions.charging) == (87, True)
    assert seen.conditions.clocks[3].allowed == 2_802_000


def test_no_phone(fake_phone: MakePhone) -> None:
    assert find_devices() == []
    with pytest.raises(UsageError, match="no phone is connected; connect one, or name this"):
        open_device()


def test_a_phone_that_refuses_says_what_to_do_until_its_user_accepts(
    fake_phone: MakePhone,
) -> None:
    phone = fake_phone(trusted=False)
    [seen] = find_devices()
    assert (seen.state, seen.info) == ("unauthorized", None)
    for serial in (phone.serial, None):
        with pytest.raises(UsageError, match="unauthorized; unlock its screen and accept"):
            open_device(serial)
    phone.accept()
    device = open_device(phone.serial)
    device.wait(10)
    assert device.describe().model == "Pixel 6 Pro"


def test_an_unreachable_phone_is_offline(phone: FakePhone) -> None:
    phone.vanish()
    assert [one.state for one in find_devices()] == ["offline"]
    with pytest.raises(UsageError, match="offline; unplug it"):
        open_device(phone.serial)


def test_the_only_phone_needs_no_name(phone: FakePhone) -> None:
    assert open_device().serial == phone.serial
    assert [one.serial for one in open_devices([])] == [phone.serial]


def test_of_several_one_must_be_named_or_be_in_the_environment(
    fake_phone: MakePhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = fake_phone(), fake_phone()
    with pytest.raises(UsageError, match=r"2 phones are connected: .*; name one, or 'all'"):
        open_device()
    assert open_device(first.serial).serial == first.serial
    monkeypatch.setenv("ANDROID_SERIAL", second.serial)
    assert open_device().serial == second.serial
    assert open_device(first.serial).serial == first.serial
    assert [one.serial for one in open_devices([])] == [second.serial]


def test_several_are_opened_once_each(fake_phone: MakePhone) -> None:
    first, second, _refusing = fake_phone(), fake_phone(), fake_phone(trusted=False)
    opened = open_devices([second.serial, "all", "host", second.serial, "all"])
    assert {one.serial for one in opened} == {first.serial, second.serial, "host"}
    assert opened[0].serial == second.serial and len(opened) == 3


def test_an_unknown_serial_is_told_with_those_there_are(phone: FakePhone) -> None:
    with pytest.raises(UsageError) as caught:
        open_device("R5CT\x1b[2J")
    assert str(caught.value) == (
        f"R5CT?[2J: no such device; adb knows {phone.serial}; see mvkit devices; "
        "'host' is this machine"
    )


def test_all_of_none_is_a_mistake(fake_phone: MakePhone) -> None:
    with pytest.raises(UsageError, match="no phone is ready"):
        open_devices(["all"])


@pytest.mark.parametrize("features", ["v2", "v1", "none"])
def test_a_look_tells_what_the_two_questions_tell(fake_phone: MakePhone, features: str) -> None:
    device = AdbDevice(fake_phone(features=features).serial)
    info, conditions = device.look()
    assert info == device.describe() and info.model == "Pixel 6 Pro"
    assert conditions == replace(device.conditions(), moment=conditions.moment)
    assert conditions.clocks and conditions.screen_on


def test_what_a_service_prints_is_no_property(phone: FakePhone) -> None:
    phone.state.set_dump("battery", "[ro.product.model]: [other]\n")
    info, _ = AdbDevice(phone.serial).look()
    assert info.model == "Pixel 6 Pro"
