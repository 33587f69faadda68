"""What a database's errors mean, in one line each."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError

from converters.errors import StoreError, one_line

_SQLITE = {  # by the primary result code, https://sqlite.org/rescode.html
    sqlite3.SQLITE_BUSY: ("locked by another program", "try again when that one is done"),
    sqlite3.SQLITE_LOCKED: ("locked by another program", "try again when that one is done"),
    sqlite3.SQLITE_READONLY: ("read-only", "allow writing to the file and its folder"),
    sqlite3.SQLITE_PERM: ("not allowed to be opened", "allow access to the file and its folder"),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "the file and its folder must be there and be yours to read and write",
    ),
    sqlite3.SQLITE_FULL: ("its disk is full", "free some space; what was stored before is safe"),
    sqlite3.SQLITE_IOERR: (
        "its disk cannot be read or written",
        "a full or failing disk does this; what was stored before is safe",
    ),
    sqlite3.SQLITE_CORRUPT: ("damaged", "restore it from a copy, or name another store"),
    sqlite3.SQLITE_NOTADB: ("not a store of mvkit", "name another file"),
}
_POSTGRESQL = {  # by SQLSTATE or its class, PostgreSQL's appendix A
    "25006": ("read-only", "name the server that may be written to"),
    "28": ("it does not let you in", "check user and password (a ~/.pgpass file holds them)"),
    "3D000": ("there is no such database", "create it with `createdb`"),
    "42501": ("you are not allowed to do this", "ask its owner for the rights"),
    "53100": ("its disk is full", "free some space; what was stored before is safe"),
    "53": ("it lacks resources", "try again later"),
    "55P03": ("locked by another program", "try again when that one is done"),
}
# A server that stops or starts, a lost connection, and two who write the same at once.
_TRANSIENT = ("57P", "08", "40001", "40P01", "23505")


def store_error(shown: str, error: DBAPIError) -> StoreError:
    """The error as one line that names the store and says what to do."""
    original = error.orig
    if isinstance(original, sqlite3.Error):
        code = getattr(original, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _SQLITE:
            what, hint = _SQLITE[code]
            return StoreError(f"{shown}: {what}", hint)
    elif is_transient(error):
        return StoreError(
            f"{shown}: the server does not answer, or went away ({_said(original)})",
            "the same command goes on from what is stored",
        )
    state = _state(error)
    for key in (state, state[:2]):
        if key in _POSTGRESQL:
            what, hint = _POSTGRESQL[key]
            return StoreError(f"{shown}: {what}", hint)
    return StoreError(f"{shown}: {_said(original)}")


def damage(shown: str) -> StoreError:
    """Of a store whose database is well, but not what is in it."""
    what, hint = _SQLITE[sqlite3.SQLITE_CORRUPT]
    return StoreError(f"{shown}: {what}", hint)


def is_transient(error: DBAPIError) -> bool:
    """Whether a server was away, so that the same may succeed a moment later."""
    if isinstance(error.orig, sqlite3.Error):
        return False
    state = _state(error)
    if not state:  # psycopg could not speak to a server at all, or the connection broke
        import psycopg

        return isinstance(error.orig, psycopg.OperationalError)
    return state.startswith(_TRANSIENT)


def _state(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _said(original: BaseException | None) -> str:
    lines = str(original).strip().splitlines()
    return one_line(lines[0] if lines else type(original).__name__)
