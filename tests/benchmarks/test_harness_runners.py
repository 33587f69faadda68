"""What the benchmark of the native runners makes of its processes."""

from __future__ import annotations

import pytest

from benchmarks.harness_runners import Times, in_turns, summary


def test_both_sides_take_turns_in_going_first() -> None:
    calls: list[str] = []

    def side(name: str, time: float) -> Times:
        calls.append(name)
        return Times(time, time)

    found = in_turns([lambda: side("native", 1.0), lambda: side("vendor", 2.0)], 3)
    assert calls == ["native", "vendor", "vendor", "native", "native", "vendor"]
    assert found == [[Times(1.0, 1.0), Times(2.0, 2.0)]] * 3


def test_ratios_are_of_the_native_runner_to_the_vendors_tool() -> None:
    native = [Times(2.0, 1.0), Times(3.0, 1.0), Times(4.0, 1.2)]
    vendors = [Times(2.0, 2.0), Times(2.0, 1.9), Times(2.0, 2.5)]
    found = summary(native, vendors)
    assert (found["native_ms"], found["vendors_ms"]) == (3.0, 2.0)
    assert found["of_medians"] == {"median": 1.5, "low": 1.0, "high": 2.0}
    assert found["of_p5"]["median"] == pytest.approx(0.5)
