"""One store's measurements into another, as often as one likes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from ..records import Measurement, Repeat
from .store import Store, read_measurements, write_measurement

_BATCH = 100  # measurements in a transaction; other commands write between two


@dataclass(frozen=True)
class Merged:
    """What became of the other store's measurements, by their ids.

    `conflicting` are there with other results for the same repeat, which happens where two copies
    of an unfinished measurement were both gone on with; they stay as they were.
    """

    added: tuple[str, ...]
    grown: tuple[str, ...]
    unchanged: tuple[str, ...]
    conflicting: tuple[str, ...]


def merge(ours: Store, other: Store) -> Merged:
    """Adds what the other store has and ours lacks; the other store is only read.

    A second time changes nothing. A measurement that has got repeats since, or has been finished,
    grows. Interrupted, it has merged some of the measurements, each of them whole.
    """
    outcome: dict[str, list[str]] = {"added": [], "grown": [], "unchanged": [], "conflicting": []}
    identities = [one.identity for one in other.select()]
    for start in range(0, len(identities), _BATCH):
        batch = list(other.load(identities[start : start + _BATCH]))
        for identity, became in ours.database.write(functools.partial(_merge, theirs=batch)):
            outcome[became].append(identity)
    return Merged(**{became: tuple(ids) for became, ids in outcome.items()})


def _merge(connection: Connection, theirs: Sequence[Measurement]) -> list[tuple[str, str]]:
    found = read_measurements(connection, [one.identity for one in theirs])
    ours = {one.identity: one for one in found}
    outcome = []
    for one in theirs:
        mine = ours.get(one.identity)
        union = one if mine is None else united(mine, one)
        if union is None:
            became = "conflicting"
        elif union == mine:
            became = "unchanged"
        else:
            became = "added" if mine is None else "grown"
            write_measurement(connection, union)
        outcome.append((one.identity, became))
    return outcome


def united(ours: Measurement, theirs: Measurement) -> Measurement | None:
    """All that either knows of one measurement; None if they contradict each other.

    What only a finished measurement has is taken from the one that is finished, ours if both are.
    """
    if _description(ours) != _description(theirs):
        return None
    repeats: dict[int, Repeat] = {one.index: one for one in ours.repeats}
    for one in theirs.repeats:
        if repeats.setdefault(one.index, one) != one:
            return None
    base, rest = (ours, theirs) if ours.validity or not theirs.validity else (theirs, ours)
    return replace(
        base,
        repeats=tuple(repeats[index] for index in sorted(repeats)),
        parity=base.parity or rest.parity,
        peak_memory=base.peak_memory if base.peak_memory is not None else rest.peak_memory,
        profile=base.profile or rest.profile,
    )


def _description(one: Measurement) -> tuple[object, ...]:
    return one.created, one.subject, one.device, one.options, dict(one.labels)
