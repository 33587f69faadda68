"""The store: measurements in, measurements out."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, Connection, Select, delete, exists, false, insert, select, update

from converters.errors import StoreError, UsageError, one_line

from ..medians import repeat_median
from ..records import DeviceInfo, Measurement, Options, Repeat, Subject, Validity
from . import schema
from .database import Database, connect, make_folder
from .location import default_location, parse_location, shown_location
from .selectors import Selector
from .tables import HEAD, labels, measurements, repeats

_BATCH = 200  # measurements that are read at once: a few MB of samples


@dataclass(frozen=True)
class Summary:
    """A measurement without its samples; `medians` are its repeats' (ms)."""

    identity: str
    created: datetime
    subject: Subject
    device: DeviceInfo
    options: Options
    labels: Mapping[str, str]
    medians: tuple[float | None, ...]
    validity: Validity | None
    reasons: tuple[str, ...]


def summary_of(measurement: Measurement) -> Summary:
    return Summary(
        identity=measurement.identity,
        created=measurement.created,
        subject=measurement.subject,
        device=measurement.device,
        options=measurement.options,
        labels=measurement.labels,
        medians=tuple(map(repeat_median, measurement.repeats)),
        validity=measurement.validity,
        reasons=measurement.reasons,
    )


class Store:
    """An open store. Every method may raise StoreError, one line that says what to do."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.database.close()

    @property
    def shown(self) -> str:
        """Its location for people, without a password."""
        return self.database.shown

    def check_writable(self) -> None:
        """Raises StoreError where nothing can be saved: better before measuring than after it."""
        nothing = delete(labels).where(false())
        self.database.write(lambda connection: connection.execute(nothing))

    def save(self, *measurements: Measurement) -> None:
        """Makes the store hold the measurements, all or none; on disk when this returns.

        Called when a measurement begins, whenever a repeat has ended, and at the end. What is
        known of the whole is written anew; repeats that are not there yet are added. Raises
        StoreError if a repeat is there with other results: nothing measured is overwritten.
        """

        def write(connection: Connection) -> None:
            for one in measurements:
                write_measurement(connection, one)

        self.database.write(write)

    def unfinished(
        self,
        subject: Subject,
        device: DeviceInfo,
        options: Options,
        labels: Mapping[str, str],
    ) -> Measurement | None:
        """The newest measurement of just this that lacks repeats, to be gone on with."""

        def find(connection: Connection) -> Measurement | None:
            candidates = connection.execute(
                select(measurements.c.id, *_DESCRIPTION)
                .where(
                    measurements.c.validity.is_(None),
                    measurements.c.sha256 == subject.sha256,
                    measurements.c.serial == device.serial,
                )
                .order_by(measurements.c.created.desc(), measurements.c.id.desc())
            )
            for row in candidates.all():
                if (row.subject, row.device, row.options) != (subject, device, options):
                    continue
                (found,) = read_measurements(connection, [row.id])
                if found.labels == dict(labels):
                    return found
            return None

        return self.database.read(find)

    def select(
        self,
        selectors: Sequence[Selector] = (),
        *,
        finished: bool = False,
        limit: int | None = None,
    ) -> list[Summary]:
        """The runs that any of the selectors matches, or all, the newest first.

        With `finished` only those that have all their repeats, with a limit only the newest.
        Raises UsageError for a selector that matches nothing, and for an id that matches several.
        """

        def find(connection: Connection) -> list[Summary]:
            if not selectors:
                every = Selector("", ()).ids(finished=finished, limit=limit)
                return _summaries(connection, every)
            found: dict[str, Summary] = {}
            for one in selectors:
                matches = _summaries(connection, one.ids(finished=finished, limit=limit))
                _check_matches(one, matches, finished)
                found |= {match.identity: match for match in matches}
            newest = sorted(found.values(), key=lambda x: (x.created, x.identity), reverse=True)
            return newest[:limit]

        return self.database.read(find)

    def load(self, identities: Sequence[str]) -> Iterator[Measurement]:
        """The measurements of these ids, in this order, with all samples, as they are read."""
        for start in range(0, len(identities), _BATCH):
            batch = identities[start : start + _BATCH]
            rows = self.database.read(functools.partial(read_measurements, identities=batch))
            found = {one.identity: one for one in rows}
            for identity in batch:
                if identity not in found:
                    raise StoreError(f"{self.shown}: there is no run {one_line(identity, 40)}")
                yield found[identity]

    def delete(self, identities: Sequence[str]) -> None:
        """Deletes measurements with their repeats; ids that are not there are passed over."""

        def remove(connection: Connection) -> None:
            for start in range(0, len(identities), _BATCH):
                batch = identities[start : start + _BATCH]
                connection.execute(delete(measurements).where(measurements.c.id.in_(batch)))

        self.database.write(remove)


def open_store(location: str | Path | None = None, *, create: bool = False) -> Store:
    """Opens a store: a file, a postgresql:// URL, or the user's own.

    A file's schema is brought up to date; with `create` a file that is not there is made. Raises
    StoreError, and UsageError for a location that cannot be one.
    """
    database = connect(_place(location, create=create))
    try:
        schema.prepare(database)
    except BaseException:
        database.close()
        raise
    return Store(database)


def upgrade_store(location: str | Path | None = None) -> tuple[str | None, str]:
    """Brings a store's schema up to date: what it was (None: empty) and what it is."""
    database = connect(_place(location, create=False))
    try:
        return schema.upgrade(database), HEAD
    finally:
        database.close()


def _place(location: str | Path | None, *, create: bool) -> Path | URL:
    place = default_location() if location is None else parse_location(location)
    if not isinstance(place, Path) or place.is_file():
        return place
    if place.exists():
        raise StoreError(f"{shown_location(place)}: not a file", "name a file as the store")
    if not create:
        raise StoreError(f"{shown_location(place)}: there is no store", "`mvkit bench` makes one")
    make_folder(place)
    return place


# What tells one unfinished measurement from another, labels aside.
_DESCRIPTION = (measurements.c.subject, measurements.c.device, measurements.c.options)


def write_measurement(connection: Connection, measurement: Measurement) -> None:
    """What `Store.save` does, in a transaction of the caller's."""
    identity = measurement.identity
    row = {
        "created": measurement.created,
        "name": measurement.subject.name,
        "sha256": measurement.subject.sha256,
        "target": measurement.subject.target,
        "precision": measurement.subject.precision,
        "serial": measurement.device.serial,
        "backend": measurement.options.backend,
        "subject": measurement.subject,
        "device": measurement.device,
        "options": measurement.options,
        "parity": measurement.parity,
        "peak_memory": measurement.peak_memory,
        "profile": measurement.profile,
        "validity": measurement.validity,
        "reasons": measurement.reasons,
    }
    stored: dict[int, Repeat] = {}
    if connection.scalar(select(exists().where(measurements.c.id == identity))):
        connection.execute(update(measurements).where(measurements.c.id == identity).values(row))
        connection.execute(delete(labels).where(labels.c.measurement == identity))
        stored = {one.index: one for one in _repeats(connection, [identity]).get(identity, [])}
    else:
        connection.execute(insert(measurements).values(id=identity, **row))
    if measurement.labels:
        connection.execute(
            insert(labels),
            [
                {"measurement": identity, "key": key, "value": value}
                for key, value in measurement.labels.items()
            ],
        )
    for one in measurement.repeats:
        if one.index not in stored:
            connection.execute(insert(repeats).values(_repeat_row(identity, one)))
        elif one != stored[one.index]:
            raise StoreError(
                f"run {one_line(identity, 40)}: repeat {one.index + 1} is stored with other "
                "results",
                "nothing measured is overwritten",
            )


def _repeat_row(identity: str, one: Repeat) -> dict[str, Any]:
    return {
        "measurement": identity,
        "number": one.index,
        "median": repeat_median(one),
        "samples": one.timings.samples,
        "warmup": one.timings.warmup,
        "timings": replace(one.timings, samples=None, warmup=()),
        "before": one.before,
        "after": one.after,
        "faults": one.faults,
    }


def read_measurements(connection: Connection, identities: Sequence[str]) -> list[Measurement]:
    """Those of the ids that are there, whole."""
    rows = connection.execute(select(measurements).where(measurements.c.id.in_(identities))).all()
    found_repeats = _repeats(connection, identities)
    found_labels = _labels(connection, labels.c.measurement.in_(identities))
    return [
        Measurement(
            identity=row.id,
            created=row.created,
            subject=row.subject,
            device=row.device,
            options=row.options,
            labels=found_labels.get(row.id, {}),
            repeats=tuple(found_repeats.get(row.id, ())),
            parity=row.parity,
            peak_memory=row.peak_memory,
            profile=row.profile,
            validity=row.validity,
            reasons=row.reasons,
        )
        for row in rows
    ]


def _repeats(connection: Connection, identities: Sequence[str]) -> dict[str, list[Repeat]]:
    """By measurement, in their order."""
    found: dict[str, list[Repeat]] = {}
    rows = connection.execute(
        select(repeats).where(repeats.c.measurement.in_(identities)).order_by(repeats.c.number)
    )
    for row in rows:
        timings = replace(row.timings, samples=row.samples, warmup=row.warmup)
        found.setdefault(row.measurement, []).append(
            Repeat(row.number, timings, row.before, row.after, row.faults)
        )
    return found


def _labels(connection: Connection, *conditions: Any) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for row in connection.execute(select(labels).where(*conditions)):
        found.setdefault(row.measurement, {})[row.key] = row.value
    return found


def _check_matches(selector: Selector, matches: Sequence[Summary], finished: bool) -> None:
    if not matches:
        what = "finished run" if finished else "run"
        raise UsageError(
            f"no {what} matches '{selector.shown}'", "`mvkit runs` lists what there is"
        )
    if selector.is_id and len(matches) > 1:
        ids = ", ".join(one.identity[:13] for one in matches[:3])
        raise UsageError(f"'{selector.shown}' is the start of several ids: {ids}")


def _summaries(connection: Connection, wanted: Select[tuple[str]]) -> list[Summary]:
    ids = wanted.subquery()
    columns = (measurements.c.id, measurements.c.created, *_DESCRIPTION)
    rows = connection.execute(
        select(*columns, measurements.c.validity, measurements.c.reasons)
        .where(measurements.c.id.in_(select(ids.c.id)))
        .order_by(measurements.c.created.desc(), measurements.c.id.desc())
    ).all()
    medians: dict[str, list[float | None]] = {}
    for identity, median in connection.execute(
        select(repeats.c.measurement, repeats.c.median)
        .where(repeats.c.measurement.in_(select(ids.c.id)))
        .order_by(repeats.c.measurement, repeats.c.number)
    ).all():
        medians.setdefault(identity, []).append(median)
    found_labels = _labels(connection, labels.c.measurement.in_(select(ids.c.id)))
    return [
        Summary(
            identity=row.id,
            created=row.created,
            subject=row.subject,
            device=row.device,
            options=row.options,
            labels=found_labels.get(row.id, {}),
            medians=tuple(medians.get(row.id, ())),
            validity=row.validity,
            reasons=row.reasons,
        )
        for row in rows
    ]
