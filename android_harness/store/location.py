"""Where a store lies: a file, or a PostgreSQL server."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from converters.errors import UsageError, one_line

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def default_location() -> Path:
    """The user's own store, where the system keeps data of programs."""
    import platformdirs

    return platformdirs.user_data_path("mvkit", appauthor=False) / "runs.sqlite"


def parse_location(location: str | Path) -> Path | URL:
    """A path, or the URL of a server with psycopg as its driver.

    Raises UsageError for another kind of URL. A password in the URL is never shown.
    """
    found = _SCHEME.match(str(location))
    if found is None:
        return Path(location).expanduser()
    if found[1].lower() not in ("postgresql", "postgres"):
        raise UsageError(
            f"a store at {found[1]}:// is not supported",
            "name a file, or postgresql://USER@HOST/DATABASE",
        )
    try:
        return make_url(str(location)).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        raise UsageError(
            "the store's URL cannot be read", "it looks like postgresql://USER@HOST:PORT/DATABASE"
        ) from None


def shown_location(place: Path | URL) -> str:
    """The location for people: one line, without user, password and options."""
    if isinstance(place, Path):
        return one_line(place, 400)
    port = f":{place.port}" if place.port else ""
    host = place.host or place.query.get("host", "localhost")
    return one_line(f"postgresql://{host}{port}/{place.database or ''}")
