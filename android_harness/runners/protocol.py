"""What the kit's own runners print, read and checked; docs/runners.md describes it.

One JSON object a line, begun with its event; lines of libraries may stand between them. The last
says how many there were, so that a lost one is noticed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from converters.errors import DeviceError, one_line

from ..records import ProfileRow, Timings
from .base import Output, Report

PROTOCOL = 1
LARGEST_OUTPUT = 32 * 1024**2  # characters; the most samples that a runner takes need a fifth of it
_START = '{"event":'
_LARGEST = 2**63 - 1
_NS_PER_MS = 1e6
_KIB_PER_MIB = 1024

# The events in their order. Those named twice may be there any number of times.
_ORDER = (
    "runner", "load", "compile", "first", "delegate", "warmup", "timed", "sample", "operator",
    "output", "memory", "end",
)  # fmt: skip
_MANY = frozenset({"warmup", "sample", "operator", "output"})
_NEEDED = frozenset({"runner", "load", "compile", "first", "timed", "sample", "end"})

_Event = Mapping[str, Any]


def check_size(output: str, errors: str) -> None:
    """Raises DeviceError for more text than any runner has to say."""
    if len(output) + len(errors) > LARGEST_OUTPUT:
        raise DeviceError(f"the runner printed more than {LARGEST_OUTPUT // 1024**2} MiB")


def read_report(output: str) -> Report:
    """Raises DeviceError, with the runner's own message where it ended with an error."""
    events = _sound_events(output)
    return _report(events, lines=len(events) - 1)


def read_reports(output: str, count: int) -> list[Report]:
    """Of a process in which so many models took turns, in the order of its command line."""
    events = _sound_events(output)
    starts = [place for place, event in enumerate(events) if event["event"] == "model"]
    if not events or events[-1]["event"] != "end":
        _refuse("it ends early" if events else "it is empty")
    if [_integer(events[place], "index") for place in starts] != list(range(count)):
        _refuse(f"it is not about {count} models in their order")
    if starts[0] != 1:
        _refuse("its lines are out of order")
    bounds = itertools.pairwise([*starts, len(events) - 1])
    return [
        _report([events[0], *events[begin + 1 : end], events[-1]], lines=len(events) - 1)
        for begin, end in bounds
    ]


def _sound_events(output: str) -> list[_Event]:
    events = list(_events(output))
    for event in events:
        if event["event"] == "error":
            raise DeviceError(f"the runner failed: {one_line(event.get('message', 'no reason'))}")
    return events


def _report(events: list[_Event], *, lines: int) -> Report:
    """Of the events of one model, between the process's first and last."""
    _check_order(events)
    by_name: dict[str, list[_Event]] = {name: [] for name in _ORDER}
    for event in events:
        by_name[event["event"]].append(event)
    _check_header(by_name["runner"][0])
    if _integer(by_name["end"][0], "lines") != lines:
        _refuse("lines of it were lost")
    _check_clock(events)
    samples = by_name["sample"]
    if _integer(by_name["timed"][0], "count", least=1) != len(samples):
        _refuse("it holds another number of samples than it announces")
    timings = Timings(
        load=_ms(by_name["load"][0]),
        compile=_ms(by_name["compile"][0]),
        first=_ms(by_name["first"][0]),
        warmup=tuple(map(_ms, by_name["warmup"])),
        samples=tuple(map(_ms, samples)),
        turns=_turns(samples),
        delegate=next(map(_delegate, by_name["delegate"]), None),
        peak_memory=next(
            (_integer(one, "peak_kib", least=1) / _KIB_PER_MIB for one in by_name["memory"]), None
        ),
    )
    return Report(
        timings,
        tuple(_profile_row(one, len(samples)) for one in by_name["operator"]),
        tuple(map(_output, by_name["output"])),
        by_name["runner"][0]["emulated"],
    )


def _turns(samples: list[_Event]) -> tuple[int, ...]:
    """How many samples each turn has; empty where none were taken."""
    if not any("turn" in one for one in samples):
        return ()
    turns = [_integer(one, "turn") for one in samples]
    counts = [(turn, len(list(group))) for turn, group in itertools.groupby(turns)]
    if [turn for turn, _ in counts] != list(range(len(counts))):
        _refuse("its turns are out of order")
    return tuple(count for _, count in counts)


def _events(output: str) -> Iterator[_Event]:
    for line in output.split("\n"):
        if not line.startswith(_START):
            continue
        try:
            event = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            _refuse("a line of it is damaged")
        if not isinstance(event.get("event"), str):
            _refuse("a line of it is damaged")
        yield event


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and infinities, which JSON does not have


def _check_order(events: list[_Event]) -> None:
    names = [event["event"] for event in events]
    unknown = next((name for name in names if name not in _ORDER), None)
    if unknown is not None:
        _refuse(f"it holds an unknown event {one_line(unknown, 40)}")
    missing = next((name for name in _ORDER if name in _NEEDED and name not in names), None)
    if missing is not None:
        _refuse("it ends early" if missing == "end" or names else "it is empty")
    if names != sorted(names, key=_ORDER.index):
        _refuse("its lines are out of order")
    twice = next((name for name in names if name not in _MANY and names.count(name) > 1), None)
    if twice is not None:
        _refuse(f"it says {twice} twice")


def _check_header(runner: _Event) -> None:
    protocol = _integer(runner, "protocol")
    if protocol != PROTOCOL:
        _refuse(f"it is in protocol {protocol}, not {PROTOCOL}")
    if not isinstance(runner.get("emulated"), bool):
        _refuse("it does not say whether it was emulated")


def _check_clock(events: list[_Event]) -> None:
    """Each timed span has to begin after the one before it ended."""
    time = 0
    for event in events:
        if "at" not in event:
            continue
        begin = _integer(event, "at")
        if begin < time:
            _refuse("its clock went backwards")
        time = begin + _integer(event, "ns", least=1)


def _ms(event: _Event) -> float:
    _integer(event, "at")
    return _integer(event, "ns", least=1) / _NS_PER_MS


def _delegate(event: _Event) -> str:
    whole = event.get("whole", True)
    if not isinstance(whole, bool):
        _refuse("a value of it is no truth value")
    return _text(event, "name") if whole else f"{_text(event, 'name')} (in part)"


def _profile_row(event: _Event, runs: int) -> ProfileRow:
    calls = _integer(event, "calls", least=1)
    return ProfileRow(
        _text(event, "name"),
        _text(event, "kind"),
        _integer(event, "ns") / runs / _NS_PER_MS,
        max(1, round(calls / runs)),
    )


def _output(event: _Event) -> Output:
    return Output(_integer(event, "bytes"), _integer(event, "crc32", most=2**32 - 1))


def _integer(event: _Event, key: str, least: int = 0, most: int = _LARGEST) -> int:
    value = event.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        _refuse(f"{key} of {one_line(event['event'], 40)} is not a whole number in its range")
    return value


def _text(event: _Event, key: str) -> str:
    value = event.get(key)
    if not isinstance(value, str) or not value:
        _refuse(f"{key} of {one_line(event['event'], 40)} is no text")
    return one_line(value)


def _refuse(why: str) -> NoReturn:
    raise DeviceError(f"the runner's report cannot be used: {why}")
