"""Column types: records as JSON, times as bytes, text and moments that come back as they were.

Both kinds of database give every value back exactly; what one of them cannot hold is spelled in a
way that both can.
"""

from __future__ import annotations

import functools
import json
import re
import struct
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, LargeBinary, Text, TypeDecorator

from ..documents import from_document, to_document

# PostgreSQL's text holds no NUL and neither database holds half of a surrogate pair, which is how
# Python reads arguments and file names that are not UTF-8.
_UNSTORABLE = re.compile("[\\\\\x00\ud800-\udfff]")
_SPELLED = re.compile(r"\\(?:\\|u([0-9a-f]{4}))")


class ExactText(TypeDecorator[str]):
    r"""Any string of Python's; a backslash is stored as `\\`, NUL and surrogates as `\u0000`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else spelled(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return _SPELLED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "\\", value)


def spelled(text: str) -> str:
    """The text as `ExactText` stores it."""
    return _UNSTORABLE.sub(
        lambda found: "\\\\" if found[0] == "\\" else f"\\u{ord(found[0]):04x}", text
    )


class Document(TypeDecorator[Any]):
    """A record, or a tuple of them, as JSON in ASCII."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return json.dumps(to_document(value), separators=(",", ":"), sort_keys=True)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else _read(value, self.kind)


class Times(TypeDecorator[tuple[float, ...]]):
    """Times in ms, each as the eight bytes of an IEEE double, little-endian."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: tuple[float, ...] | None, dialect: Dialect) -> bytes | None:
        return None if value is None else struct.pack(f"<{len(value)}d", *value)

    def process_result_value(
        self, value: bytes | None, dialect: Dialect
    ) -> tuple[float, ...] | None:
        return None if value is None else struct.unpack(f"<{len(value) // 8}d", value)


class Moment(TypeDecorator[datetime]):
    """A moment in UTC, to the microsecond; SQLite knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class DamagedDocument(Exception):
    """A stored document that is not what was written."""


@functools.lru_cache(maxsize=1024)  # a thousand runs share their device and options
def _read(document: str, kind: Any) -> Any:
    try:
        return from_document(json.loads(document), kind)
    except Exception as error:  # cattrs raises groups of whatever its parts raised
        raise DamagedDocument from error
