"""What is understood of a phone's state, and waiting for it to cool."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness.conditions import parse_conditions, wait_until_cool, warmest
from android_harness.records import Clock, Conditions
from converters.errors import DeviceError

from . import recorded
from .recorded import conditions_text

NOTHING = replace(parse_conditions(""), moment=datetime(2026, 1, 1, tzinfo=UTC))


def test_everything_is_read() -> None:
    seen = parse_conditions(conditions_text())
    assert seen.thermal_status == 1
    assert seen.temperatures == recorded.THERMAL_SEEN
    assert (seen.battery_level, seen.battery_temperature, seen.charging) == (74, 27.4, True)
    assert seen.screen_on is True
    assert seen.clocks == {0: Clock(574000, 1803000), 10: Clock(None, 2802000)}
    assert seen.moment.tzinfo is UTC


def test_a_terminals_line_ends_change_nothing() -> None:
    text = conditions_text()
    ours, theirs = parse_conditions(text), parse_conditions(text.replace("\n", "\r\n"))
    assert ours == replace(theirs, moment=ours.moment)


@pytest.mark.parametrize(
    ("thermal", "status"),
    [(recorded.THERMAL_NOT_READY, 0), (recorded.THERMAL_ABSENT, None), ("", None)],
)
def test_cached_temperatures_are_never_taken(thermal: str, status: int | None) -> None:
    seen = parse_conditions(conditions_text(thermal=thermal))
    assert (seen.thermal_status, seen.temperatures) == (status, {})


def test_a_batterys_scale_frost_and_updates_stopped() -> None:
    seen = parse_conditions(conditions_text(battery=recorded.BATTERY_UNPLUGGED))
    assert (seen.battery_level, seen.battery_temperature, seen.charging) == (50, -5.2, False)


def test_the_log_after_a_battery_is_no_reading() -> None:
    seen = parse_conditions(conditions_text(battery=recorded.BATTERY_WITH_LOG))
    assert (seen.battery_level, seen.battery_temperature) == (74, 27.4)


def test_a_board_without_a_battery_has_no_level() -> None:
    seen = parse_conditions(conditions_text(battery=recorded.BATTERY_ABSENT))
    assert (seen.battery_level, seen.battery_temperature, seen.charging) == (None, None, True)


@pytest.mark.parametrize(
    ("power", "on"),
    [
        (recorded.POWER_ON, True),
        (recorded.POWER_DOZING, False),
        (recorded.POWER_NEW, False),
        ("  mWakefulness=Dreaming\n", True),
        ("", None),
    ],
)
def test_the_screen(power: str, on: bool | None) -> None:
    assert parse_conditions(conditions_text(power=power)).screen_on is on


WHOLE = conditions_text()


@given(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)), st.text(max_size=20))
def test_a_damaged_text_never_breaks_the_reader(start: int, end: int, between: str) -> None:
    parse_conditions(WHOLE[:start] + between + WHOLE[end:])


def test_no_reading_is_made_up_by_a_cut() -> None:
    whole = parse_conditions(WHOLE)
    for end in range(len(WHOLE)):
        seen = parse_conditions(WHOLE[:end])
        assert seen.temperatures in ({}, whole.temperatures)
        assert seen.battery_level in (None, whole.battery_level)
        assert seen.battery_temperature in (None, whole.battery_temperature)
        assert seen.thermal_status in (None, whole.thermal_status)
        assert all(
            clock.allowed in (None, whole.clocks[c].allowed) for c, clock in seen.clocks.items()
        )


def test_the_skin_is_what_a_limit_applies_to() -> None:
    hot = {"cpu/BIG": 80.0, "skin/back": 33.0, "skin/front": 35.0}
    seen = replace(NOTHING, temperatures=hot, battery_temperature=30.0)
    assert warmest(seen) == ("skin/front", 35.0)
    assert warmest(replace(seen, temperatures={"cpu/BIG": 80.0})) == ("battery", 30.0)
    assert warmest(replace(NOTHING, temperatures={"a/1": 50.0, "a/2": 60.0})) == ("a/2", 60.0)
    assert warmest(NOTHING) is None


@dataclass
class Thermometer:
    """A device that has only conditions, one set after another; the last stays."""

    coming: list[Conditions]
    serial: str = "R5CT\x1b[2J"
    said: list[str] = field(default_factory=list)

    def conditions(self) -> Conditions:
        return self.coming.pop(0) if len(self.coming) > 1 else self.coming[0]

    def wait(self, limit: float | None, timeout: float = 5.0) -> Conditions:
        return wait_until_cool(
            self,  # type: ignore[arg-type]
            limit,
            timeout=timeout,
            say=self.said.append,
            interval=0.01,
        )


def at(skin: float, status: int | None = 0) -> Conditions:
    return replace(NOTHING, temperatures={"skin/back": skin}, thermal_status=status)


def test_it_waits_until_the_skin_is_cool() -> None:
    device = Thermometer([at(40.0), at(36.0), at(35.0)])
    assert device.wait(35.0) == at(35.0)
    assert device.said == [
        "40.0 °C warm (skin/back; limit 35.0 °C)",
        "36.0 °C warm (skin/back; limit 35.0 °C)",
    ]


def test_a_throttled_phone_is_waited_for_without_any_limit() -> None:
    device = Thermometer([at(30.0, status=2), at(30.0)])
    assert device.wait(None) == at(30.0)
    assert device.said == ["throttled (thermal status 2)"]


def test_a_device_that_tells_nothing_passes() -> None:
    device = Thermometer([NOTHING])
    assert device.wait(35.0) == NOTHING
    assert device.said == []


def test_a_phone_that_never_cools_is_an_error_with_its_temperature() -> None:
    device = Thermometer([at(41.0)])
    with pytest.raises(DeviceError) as caught:
        device.wait(35.0, timeout=0.05)
    assert str(caught.value) == (
        "R5CT?[2J: after 0.05 s it is still 41.0 °C warm (skin/back; limit 35.0 °C); "
        "let it rest in a cool place"
    )
    assert device.said
