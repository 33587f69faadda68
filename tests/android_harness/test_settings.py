"""Settings of a phone are changed and put back, whatever happens in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from android_harness.devices import Device, open_device
from android_harness.reservation import clean, reserved
from android_harness.settings import RECORD, SETTINGS, changed, put_back
from converters.errors import DeviceError, DeviceLost
from tests.fake_phone.phone import FakePhone

ALL = tuple(SETTINGS)
STAY_ON = "settings/global/stay_on_while_plugged_in"


@pytest.fixture
def device(phone: FakePhone) -> Device:
    phone.state.set("wakefulness", "Asleep")
    return open_device(phone.serial)


def state(phone: FakePhone) -> tuple[str, ...]:
    return tuple(phone.state.get(name) for name in ("fixed-performance", STAY_ON, "wakefulness"))


BEFORE = ("false", "0", "Asleep")
CHANGED = ("true", "15", "Awake")


def recorded(phone: FakePhone) -> bool:
    return phone.files.path(f"/data/local/tmp/mvkit/{RECORD}").exists()


def test_they_are_changed_and_put_back(phone: FakePhone, device: Device) -> None:
    said: list[str] = []
    with changed(device, ALL, said.append) as taken:
        assert taken == ALL
        assert state(phone) == CHANGED
        assert recorded(phone)
    assert state(phone) == BEFORE
    assert said == [] and not recorded(phone)


def test_only_those_asked_for(phone: FakePhone, device: Device) -> None:
    with changed(device, ["stay-awake"], print):
        assert state(phone) == ("false", "15", "Asleep")
    with changed(device, [], print) as taken:
        assert taken == () and not recorded(phone)


def test_one_that_was_never_set_is_unset_again(phone: FakePhone, device: Device) -> None:
    phone.state.remove(STAY_ON)
    with changed(device, ["stay-awake"], print):
        assert phone.state.get(STAY_ON) == "15"
    assert not phone.state.has(STAY_ON)


def test_a_phone_without_a_setting_is_not_given_it(phone: FakePhone, device: Device) -> None:
    phone.state.remove("fixed-performance")
    phone.state.remove("dumpsys/power")
    said: list[str] = []
    with changed(device, ALL, said.append) as taken:
        assert taken == ("stay-awake",)
    assert said == []


def test_the_host_has_none() -> None:
    with changed(open_device("host"), ["stay-awake", "screen"], print) as taken:
        assert taken == ()


@pytest.mark.parametrize("error", [KeyboardInterrupt, DeviceError("x"), ZeroDivisionError])
def test_an_error_puts_them_back(
    phone: FakePhone, device: Device, error: type[BaseException]
) -> None:
    with pytest.raises(BaseException) as caught, changed(device, ALL, print):
        raise error
    assert isinstance(caught.value, error if isinstance(error, type) else DeviceError)
    assert state(phone) == BEFORE


def test_a_phone_that_was_lost_and_returns_gets_them_back(phone: FakePhone, device: Device) -> None:
    said: list[str] = []
    with pytest.raises(DeviceLost), changed(device, ALL, said.append):
        phone.reboot()
        device.run(["true"], timeout=10)
    assert state(phone) == BEFORE
    assert said == [] and not recorded(phone)


def test_a_phone_that_stays_away_is_told_and_put_right_by_the_next_command(
    phone: FakePhone, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("android_harness.settings._RETURN", 0.1)
    said: list[str] = []
    with pytest.raises(DeviceLost), changed(device, ALL, said.append):
        phone.vanish()
        device.run(["true"], timeout=10)
    [line] = said
    assert line.startswith(
        f"{phone.serial}: not put back: fixed performance mode, staying awake while plugged in, "
        "the screen, which was switched on ("
    )
    assert line.endswith("the next command on this device tries again")
    phone.come_back()
    device.wait(20)
    assert state(phone) == CHANGED
    with reserved(device, said.append):
        assert state(phone) == BEFORE
    assert len(said) == 1


def test_one_that_the_phone_refuses_to_take_back_is_told_and_kept(
    phone: FakePhone, device: Device
) -> None:
    said: list[str] = []
    with changed(device, ALL, said.append):
        phone.state.remove("fixed-performance")
    assert state_of_rest(phone) == BEFORE[1:]
    [line] = said
    assert "not put back: fixed performance mode (Unknown command: set-fixed" in line
    assert "staying awake" not in line
    with pytest.raises(DeviceError, match="not cleaned; put that back by hand"):
        clean(device, said.append)
    assert recorded(phone)
    phone.state.set("fixed-performance", "true")
    clean(device, said.append)
    assert phone.state.get("fixed-performance") == "false" and not recorded(phone)


def state_of_rest(phone: FakePhone) -> tuple[str, ...]:
    return (phone.state.get(STAY_ON), phone.state.get("wakefulness"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        '{"stay-awake": "; reboot"}',
        '{"stay-awake": 7}',
        '{"$(reboot)": "7"}',
        '{"screen": ["off"]}',
        "\x1b[2J",
    ],
)
def test_a_record_that_is_none_changes_nothing(phone: FakePhone, device: Device, text: str) -> None:
    phone.files.write(f"/data/local/tmp/mvkit/{RECORD}", text)
    before = state(phone)
    assert put_back(device) == []
    assert state(phone) == before
    assert not recorded(phone)


MEASURES = """
import sys
from android_harness.devices import open_device
from android_harness.reservation import reserved
from android_harness.settings import SETTINGS, changed
device = open_device(sys.argv[1])
with reserved(device, print), changed(device, list(SETTINGS), print):
    device.run(["sh", "-c", "touch run; echo begun; sleep 100"], timeout=60,
               on_line=lambda line: print(line, flush=True))
"""


@contextmanager
def a_measurement(device: Device) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", MEASURES, device.serial]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


def test_ctrl_c_leaves_the_phone_as_it_was(phone: FakePhone, device: Device) -> None:
    with a_measurement(device) as process:
        assert state(phone) == CHANGED
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert state(phone) == BEFORE
    assert device.stop_leftovers() == 0
    assert list(phone.files.path("/data/local/tmp/mvkit").iterdir()) == []


def test_what_kill_9_leaves_is_put_right_by_the_next_command(
    phone: FakePhone, device: Device
) -> None:
    with a_measurement(device) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
    assert state(phone) == CHANGED
    said: list[str] = []
    with reserved(device, said.append):
        assert state(phone) == BEFORE
        assert device.stop_leftovers() == 0
        assert list(phone.files.path("/data/local/tmp/mvkit").iterdir()) == []
    assert len(said) == 1 and "stopped what a killed command had left running" in said[0]
