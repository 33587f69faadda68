"""Choosing cores."""

from __future__ import annotations

import pytest

from android_harness.cores import core_mask, parse_cores
from android_harness.devices import Device, open_device
from converters.errors import UsageError
from tests.fake_phone.phone import FakePhone


@pytest.fixture
def device(phone: FakePhone) -> Device:
    return open_device(phone.serial)


@pytest.mark.parametrize(
    ("text", "choice"),
    [("big", "big"), ("little", "little"), ("f0", 0xF0), ("0xF0", 0xF0), ("0x1", 1), ("01", 1)],
)
def test_what_can_be_named(text: str, choice: str | int) -> None:
    assert parse_cores(text) == choice


@pytest.mark.parametrize("text", ["", "0", "0x", "huge", "g0", "-1", "1" * 17, "BIG", "f0\n"])
def test_what_cannot(text: str) -> None:
    with pytest.raises(UsageError, match=r"--cores .*neither big, little nor a mask"):
        parse_cores(text)


def test_little_are_the_slowest_and_big_the_others(phone: FakePhone, device: Device) -> None:
    for core, clock in enumerate((1_803_000, 1_803_000, 2_253_000, 2_802_000)):
        phone.state.set_top_clock(core, clock)
        # What throttling leaves says nothing about the kind of core.
        phone.state.set_clock(core, current=500_000, allowed=500_000)
    assert core_mask("little", device, 1) == 0b0011
    assert core_mask("big", device, 2) == 0b1100
    assert core_mask(0b0110, device, 2) == 0b0110


def test_more_threads_than_cores(phone: FakePhone, device: Device) -> None:
    with pytest.raises(UsageError, match=r"more than the cores of --cores big \(2\)"):
        core_mask("big", device, 3)
    with pytest.raises(UsageError, match=r"more than the cores of --cores 80 \(1\)"):
        core_mask(0x80, device, 2)


def test_a_device_with_one_kind_of_core(phone: FakePhone, device: Device) -> None:
    for core in range(4):
        phone.state.set_top_clock(core, 2_000_000)
    with pytest.raises(UsageError, match="no big cores: all its cores have the same clock"):
        core_mask("big", device, 1)


def test_a_device_that_does_not_tell(phone: FakePhone, device: Device) -> None:
    for core in range(4):
        phone.state.set_top_clock(core, None)
    with pytest.raises(UsageError, match="no little cores: it does not tell its clocks; pass a"):
        core_mask("little", device, 1)
