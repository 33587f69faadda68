"""Why two measurements must not be compared: the latency would differ for another reason."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from converters.errors import one_line

from .medians import known, repeat_median
from .records import Measurement

# With fewer repeats the bootstrap is too sure of itself: two sets of the same kind seem to differ
# in up to 10% of all trials with 3 repeats, in up to 8% with 4 (docs/harness.md).
LEAST_REPEATS = 5
_WARMER = 5.0  # degrees Celsius between batteries at the start of repeats
_CLOCK_TOLERANCE = 0.01
_OPTIONS = ("runner", "backend", "threads", "cores", "warmup", "cooldown", "max_temperature")
_STATES = {
    "charging": "the device was charging",
    "screen_on": "the screen was on",
    "fixed_performance": "fixed performance mode was on",
}


def obstacles(a: Measurement, b: Measurement) -> tuple[str, ...]:
    """The reasons for which a ratio of the two would mislead; empty if there are none."""
    return tuple(one_line(reason) for reason in _obstacles(a, b))


def _obstacles(a: Measurement, b: Measurement) -> Iterator[str]:
    if a.identity == b.identity:
        yield "A and B are the same run"
        return
    for name, one in (("A", a), ("B", b)):
        yield from _unfit(name, one)
    yield from _devices(a, b)
    if a.subject.inputs and b.subject.inputs and _sizes(a) != _sizes(b):
        yield f"inputs differ: {', '.join(a.subject.inputs)} and {', '.join(b.subject.inputs)}"
    for option in _OPTIONS:
        mine, theirs = getattr(a.options, option), getattr(b.options, option)
        if mine != theirs:
            yield f"{option.replace('_', ' ')} differs: {_shown(mine)} and {_shown(theirs)}"
    if a.options.beside != b.options.beside:
        yield "they did not take turns with the same files"
    yield from _conditions(a, b)


def _unfit(name: str, one: Measurement) -> Iterator[str]:
    if one.validity is None:
        yield f"{name} is unfinished: {len(one.repeats)} of {one.options.repeats} repeats"
    elif one.validity == "invalid":
        yield f"{name} is invalid: {'; '.join(one.reasons) or 'no reason is stored'}"
    else:
        medians = len(known([repeat_median(repeat) for repeat in one.repeats]))
        if medians < LEAST_REPEATS:
            yield f"{name} has {medians} repeats with a median; at least {LEAST_REPEATS} are needed"


def _devices(a: Measurement, b: Measurement) -> Iterator[str]:
    if a.device.emulated != b.device.emulated:
        emulated = "A" if a.device.emulated else "B"
        yield f"{emulated} was measured on an emulated device, the other on a real one"
        return
    for what, field in (
        ("devices", "serial"),
        ("devices", "kind"),
        ("devices", "model"),
        ("devices", "soc"),
        ("systems", "os"),
    ):
        mine, theirs = getattr(a.device, field), getattr(b.device, field)
        if mine != theirs:
            yield f"{what} differ: {_shown(mine)} and {_shown(theirs)}"
            return


def _sizes(one: Measurement) -> list[tuple[list[str], str]]:
    """Inputs with their axes in no order: targets lay photos out in different ways."""
    parts = (text.partition(" ") for text in one.subject.inputs)
    return [(sorted(shape.split("x")), dtype) for shape, _, dtype in parts]


def _conditions(a: Measurement, b: Measurement) -> Iterator[str]:
    for state, what in _STATES.items():
        mine, theirs = ({getattr(one.before, state) for one in m.repeats} - {None} for m in (a, b))
        if mine and theirs and mine != theirs:
            yield f"conditions differ: {what} in {_when(mine)} of A and in {_when(theirs)} of B"
    yield from _temperatures(a, b)
    yield from _clocks(a, b)


def _when(states: set[bool]) -> str:
    if len(states) > 1:
        return "some repeats"
    return "all repeats" if True in states else "no repeat"


def _temperatures(a: Measurement, b: Measurement) -> Iterator[str]:
    mine, theirs = (known([one.before.battery_temperature for one in m.repeats]) for m in (a, b))
    if mine and theirs and abs(np.median(mine) - np.median(theirs)) > _WARMER:
        yield (
            "conditions differ: the battery had "
            f"{np.median(mine):.0f} °C in A and {np.median(theirs):.0f} °C in B"
        )


def _clocks(a: Measurement, b: Measurement) -> Iterator[str]:
    mine, theirs = _allowed(a), _allowed(b)
    for core in sorted(set(mine) & set(theirs)):
        if abs(mine[core] - theirs[core]) > _CLOCK_TOLERANCE * max(mine[core], theirs[core]):
            yield (
                f"conditions differ: core {core} was allowed {mine[core] / 1e3:.0f} MHz in A "
                f"and {theirs[core] / 1e3:.0f} MHz in B"
            )
            return  # a cluster's cores share their clock


def _allowed(one: Measurement) -> dict[int, float]:
    """The middle of what each core was allowed (kHz) when repeats began."""
    found: dict[int, list[int]] = {}
    for repeat in one.repeats:
        for core, clock in repeat.before.clocks.items():
            if clock.allowed is not None:
                found.setdefault(core, []).append(clock.allowed)
    return {core: float(np.median(values)) for core, values in found.items()}


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
