"""The language in which runs are named, as revisions are in git.

    1f0c9a2e            the run whose id begins so (four digits or more)
    latest, latest~2    the newest run; the one two before it
    label:branch=main   runs with this label
    label:main          runs with a label of this value, whatever its key
    name:mobilevit_*    by the artifact's name; also device: (its serial), target:, precision:,
                        backend: and validity: (valid, noisy, invalid or unfinished)
    a,b                 runs for which both hold: label:main,latest is the newest of main

`*` stands for any text and `?` for any character, so also for a comma. Case matters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, Text, literal, select

from converters.errors import UsageError, one_line

from .tables import labels, measurements
from .types import spelled

_ID = re.compile(r"[0-9a-f][0-9a-f-]{3,35}")
_LATEST = re.compile(r"latest(?:~([0-9]{1,9}))?")
_COLUMNS = {
    "name": measurements.c.name,
    "device": measurements.c.serial,
    "target": measurements.c.target,
    "precision": measurements.c.precision,
    "backend": measurements.c.backend,
}
# As `ExactText` stores it; both databases understand this.
_STORED_CHARACTER = r"([^\\]|\\(\\|u[0-9a-f]{4}))"
_KINDS = ("label", *_COLUMNS, "validity")


@dataclass(frozen=True)
class Selector:
    """What was written, and what it asks of a row of `measurements`.

    `latest` counts from the newest of those rows (0); None takes them all. `is_id` marks one that
    must not match several.
    """

    text: str
    conditions: tuple[ColumnElement[bool], ...]
    latest: int | None = None
    is_id: bool = False

    @property
    def shown(self) -> str:
        return one_line(self.text, 80)

    def ids(self, *, finished: bool, limit: int | None) -> Select[tuple[str]]:
        """The matching ids; with `finished` only of runs that have all their repeats.

        With a limit only the newest.
        """
        query = select(measurements.c.id).where(*self.conditions)
        if finished:
            query = query.where(measurements.c.validity.is_not(None))
        if self.latest is not None:
            limit = 1
        if limit is not None:
            query = query.order_by(measurements.c.created.desc(), measurements.c.id.desc())
            query = query.limit(limit).offset(self.latest or 0)
        return query


def parse_selector(text: str) -> Selector:
    """Raises UsageError for what is no selector."""
    conditions: list[ColumnElement[bool]] = []
    latest: int | None = None
    is_id = False
    for term in text.split(","):
        kind, colon, value = term.partition(":")
        if found := _LATEST.fullmatch(term):
            if latest is not None:
                raise UsageError(f"'{one_line(text, 80)}' says latest twice")
            latest = int(found[1] or 0)
        elif _ID.fullmatch(term):
            is_id = True
            conditions.append(measurements.c.id.startswith(term, autoescape=True))
        elif colon and kind == "label":
            conditions.append(_label(value))
        elif colon and kind == "validity":
            conditions.append(_validity(value))
        elif colon and kind in _COLUMNS:
            conditions.append(_matches(_COLUMNS[kind], value))
        else:
            raise UsageError(
                f"'{one_line(term, 80)}' names no runs",
                "a run's id, latest, latest~N, label:KEY=VALUE, label:VALUE, or one of "
                + ", ".join(f"{kind}:" for kind in _KINDS[1:]),
            )
    return Selector(text, tuple(conditions), latest, is_id)


def _label(text: str) -> ColumnElement[bool]:
    key, equals, value = text.partition("=")
    wanted = (
        _matches(labels.c.key, key) & _matches(labels.c.value, value)
        if equals
        else _matches(labels.c.value, text)
    )
    return measurements.c.id.in_(select(labels.c.measurement).where(wanted))


def _validity(value: str) -> ColumnElement[bool]:
    if value == "unfinished":
        return measurements.c.validity.is_(None)
    if value not in ("valid", "noisy", "invalid"):
        raise UsageError(
            f"validity:{one_line(value, 40)} is unknown",
            "it is valid, noisy, invalid or unfinished",
        )
    return measurements.c.validity == value


def _matches(column: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
    if not {"*", "?"} & set(pattern):
        return column == pattern
    wild = {"*": f"{_STORED_CHARACTER}*", "?": _STORED_CHARACTER}
    parts = (wild.get(c) or re.escape(spelled(c)) for c in pattern)
    # Plain text: the column's type would spell the pattern's own backslashes.
    return column.regexp_match(literal(rf"\A{''.join(parts)}\Z", Text()))
