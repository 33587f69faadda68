"""The report of the kit's own runners: read whole and sane, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness.records import ProfileRow
from android_harness.runners import protocol
from android_harness.runners.base import Output
from android_harness.runners.mvkit import MvkitRunner
from converters.errors import DeviceError
from tests.android_harness.reports import LINES, changed, written

WHOLE = written()


def refusal(output: str) -> str:
    with pytest.raises(DeviceError) as refused:
        MvkitRunner("tflite").read(output, "")
    assert refused.value.message.isprintable()
    return refused.value.message


def test_times_are_milliseconds_and_memory_is_mebibytes() -> None:
    timings = protocol.read_report(WHOLE).timings
    assert (timings.load, timings.compile, timings.first) == (2.386998, 33.883084, 115.908655)
    assert timings.warmup == (91.128683, 74.686463)
    assert timings.samples == (65.96272, 55.744425, 139.895314)
    assert timings.summary == {}
    assert timings.delegate == "xnnpack"
    assert timings.peak_memory == 48736 / 1024


def test_a_profile_is_of_one_run() -> None:
    assert protocol.read_report(WHOLE).profile == (
        ProfileRow("0", "Transpose (ND, X32)", 0.03),
        ProfileRow("1", "Sigmoid (NC)", 1.0),
    )


def test_outputs_and_emulation_are_reported() -> None:
    assert protocol.read_report(WHOLE).outputs == (Output(4000, 3184495954),)
    assert not protocol.read_report(WHOLE).emulated
    assert protocol.read_report(changed(0, emulated=True)).emulated


def test_a_delegate_of_a_part_says_so() -> None:
    assert protocol.read_report(changed(4, whole=False)).timings.delegate == "xnnpack (in part)"


def test_what_was_not_asked_for_is_absent() -> None:
    kept = [line for line in LINES if line["event"] not in ("delegate", "operator", "memory")]
    kept[-1] = {"event": "end", "lines": len(kept) - 1}
    report = protocol.read_report(written(kept))
    assert (report.profile, report.timings.delegate, report.timings.peak_memory) == ((), None, None)


def test_lines_of_libraries_and_carriage_returns_are_passed_over() -> None:
    noise = "INFO: Created delegate\n\x1b[31m{}\n"
    shown = noise.join(["", *WHOLE.replace("\n", "\r\n").splitlines(keepends=True)]) + noise
    assert protocol.read_report(shown) == protocol.read_report(WHOLE)


@pytest.mark.parametrize("end", [0, 1, 40, 300, 700, len(WHOLE) - 3])
def test_a_report_that_ends_early_is_refused(end: int) -> None:
    assert "cannot be used" in refusal(WHOLE[:end])


@given(st.integers(0, len(WHOLE) - 3))
def test_no_beginning_of_a_report_is_a_report(end: int) -> None:
    refusal(WHOLE[:end])


@given(st.integers(0, len(LINES) - 1))
def test_no_line_may_be_missing(place: int) -> None:
    refusal(written(line for i, line in enumerate(LINES) if i != place))


@given(st.text(), st.integers(0, len(WHOLE)), st.integers(0, 40))
def test_garbage_within_a_report_is_refused_or_does_no_harm(
    garbage: str, place: int, over: int
) -> None:
    try:
        report = protocol.read_report(WHOLE[:place] + garbage + WHOLE[place + over :])
    except DeviceError:
        return
    times = (*report.timings.warmup, *(report.timings.samples or ()))
    assert len(report.timings.samples or ()) == 3 and all(0 < time < 1e13 for time in times)


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_garbage_alone_is_refused(garbage: str) -> None:
    refusal(garbage)
    refusal('{"event":' + garbage)


@given(
    st.integers(0, len(LINES) - 1),
    st.sampled_from(["at", "ns", "count", "lines", "protocol", "peak_kib", "crc32", "calls"]),
    st.none() | st.floats() | st.text(max_size=5) | st.booleans() | st.lists(st.integers()),
)
def test_a_value_of_another_type_is_refused(place: int, key: str, value: object) -> None:
    if key in LINES[place]:
        refusal(changed(place, **{key: value}))


@pytest.mark.parametrize(
    ("place", "values", "why"),
    [
        (8, {"ns": 0}, "ns of sample"),
        (8, {"ns": -5}, "ns of sample"),
        (8, {"ns": 2**70}, "ns of sample"),
        (9, {"at": 521474445}, "clock went backwards"),
        (3, {"at": 1}, "clock went backwards"),
        (7, {"count": 4}, "another number of samples"),
        (7, {"count": 0}, "count of timed"),
        (15, {"lines": 14}, "lines of it were lost"),
        (0, {"protocol": 2}, "protocol 2, not 1"),
        (0, {"emulated": 1}, "emulated"),
        (4, {"whole": "yes"}, "no truth value"),
        (4, {"name": ""}, "name of delegate"),
        (5, {"event": "coffee"}, "unknown event coffee"),
        (5, {"event": "compile"}, "out of order"),
        (13, {"crc32": 2**32}, "crc32 of output"),
    ],
)
def test_an_impossible_value_is_refused(place: int, values: dict[str, object], why: str) -> None:
    assert why in refusal(changed(place, **values))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "1.5", "9" * 5000])
def test_no_time_but_a_whole_number_is_read(number: str) -> None:
    refusal(WHOLE.replace("65962720", number))


def test_a_line_that_is_there_twice_is_refused() -> None:
    lines = [*LINES[:2], LINES[1] | {"at": 2387090}, *LINES[2:]]
    lines[-1] = {"event": "end", "lines": len(lines) - 1}
    assert "says load twice" in refusal(written(lines))


def test_nothing_may_follow_the_end() -> None:
    assert "out of order" in refusal(WHOLE + json.dumps(LINES[13], separators=(",", ":")))


def test_the_runners_own_reason_is_the_message_in_one_line() -> None:
    error = '{"event":"error","message":"x.tflite: has\\u001b[2J less than\\n the 9 bytes"}\n'
    assert refusal(WHOLE[:200] + "\n" + error) == (
        "the runner failed: x.tflite: has?[2J less than the 9 bytes"
    )
    assert refusal('{"event":"error"}') == "the runner failed: no reason"


def test_a_report_nested_beyond_reading_is_refused() -> None:
    assert "damaged" in refusal('{"event":' + "[" * 100_000)


def test_an_endless_report_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LARGEST_OUTPUT", len(WHOLE) + 5)
    MvkitRunner("tflite").read(WHOLE, "12345")
    with pytest.raises(DeviceError, match="more than"):
        MvkitRunner("tflite").read(WHOLE, "123456")


def in_turns(*models: list[dict[str, Any]], **changes: Any) -> str:
    """A report of models that took turns; `changes` are of its last line."""
    lines = [LINES[0]]
    for index, events in enumerate(models):
        lines += [{"event": "model", "index": index}, *events]
    lines.append({"event": "end", "lines": len(lines), **changes})
    return written(lines)


def block(*turns: int, late: int = 0) -> list[dict[str, Any]]:
    """A model's lines, with a sample for each of these turns."""
    samples = [
        {"event": "sample", "at": late + 1000 * n, "ns": 900 + n, "turn": turn}
        for n, turn in enumerate(turns, start=4)
    ]
    spans = [
        {"event": name, "at": late + 1000 * n, "ns": 500}
        for n, name in enumerate(("load", "compile", "first"))
    ]
    return [*spans, {"event": "timed", "count": len(samples)}, *samples]


def turns_refusal(output: str, count: int = 2) -> str:
    with pytest.raises(DeviceError) as refused:
        MvkitRunner("tflite").read_in_turns(output, "", count)
    return refused.value.message


def test_models_that_took_turns_have_a_report_each() -> None:
    """Blocks overlap in time: only within a model does the clock go forwards."""
    output = in_turns(block(0, 0, 1, 2, 2, late=200), block(0, 1, 1))
    first, second = MvkitRunner("tflite").read_in_turns(output, "", 2)
    assert first.timings.turns == (2, 1, 2)
    assert second.timings.turns == (1, 2)
    assert first.timings.samples == (0.000904, 0.000905, 0.000906, 0.000907, 0.000908)
    assert protocol.read_report(WHOLE).timings.turns == ()


def test_a_report_of_turns_that_is_not_whole() -> None:
    good = block(0, 1)
    assert turns_refusal("").endswith("it is empty")
    whole = in_turns(good, good)
    assert turns_refusal(whole[: whole.rindex("{")]).endswith("it ends early")
    assert turns_refusal(whole, 3).endswith("it is not about 3 models in their order")
    assert turns_refusal(WHOLE).endswith("it is not about 2 models in their order")
    swapped = whole.replace('"index":0', '"index":2')
    assert turns_refusal(swapped).endswith("it is not about 2 models in their order")
    assert turns_refusal(in_turns(good, good, lines=7)).endswith("lines of it were lost")
    header, end = LINES[0], {"event": "end", "lines": 15}
    first, second = ({"event": "model", "index": index} for index in range(2))
    early = written([header, good[0], first, *good[1:], second, *good, end])
    assert turns_refusal(early).endswith("its lines are out of order")
    assert "says load twice" in turns_refusal(in_turns(good, [good[0], *good]))
    assert turns_refusal(in_turns(good, block(1, 0))).endswith("its turns are out of order")
    assert turns_refusal(in_turns(good, block(0, 2))).endswith("its turns are out of order")
    assert "turn of sample" in turns_refusal(in_turns(good, block(0, -1)))
    gone = [{k: v for k, v in line.items() if k != "turn"} for line in good[-1:]]
    assert "turn of sample" in turns_refusal(in_turns(good, [*good[:-1], *gone]))
    error = written([LINES[0], {"event": "error", "message": "no model"}])
    assert turns_refusal(error) == "the runner failed: no model"


@given(st.data())
def test_a_cut_report_of_turns_is_refused(data: st.DataObject) -> None:
    whole = in_turns(block(0, 1), block(0, 0, 1))
    place = data.draw(st.integers(0, len(whole) - 2))
    turns_refusal(whole[:place])
