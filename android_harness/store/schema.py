"""Which schema a store has, and its upgrade to ours by Alembic's migrations."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from converters.errors import StoreError, one_line

from .database import Database
from .tables import HEAD

_MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK = 0x6D766B6974  # "mvkit": of PostgreSQL's advisory locks


def prepare(database: Database) -> None:
    """Makes a file's schema ours; raises StoreError for a server that lacks it, or a newer one."""
    found = database.read(lambda connection: _revision(connection, database.shown))
    if found == HEAD:
        return
    if not database.is_file:
        state = f"its schema is {found}, not {HEAD}" if found else "it has no tables yet"
        raise StoreError(f"{database.shown}: {state}", "run `mvkit store upgrade` once")
    upgrade(database)


def upgrade(database: Database) -> str | None:
    """Brings the schema to ours and says what it was: None for a new store."""

    def work(connection: Connection) -> str | None:
        if not database.is_file:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        found = _revision(connection, database.shown)
        if found != HEAD:
            _migrate(connection)
        return found

    return database.write(work)


def _revision(connection: Connection, shown: str) -> str | None:
    """The store's revision; None for an empty database. Raises StoreError for what is not ours."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if "alembic_version" not in tables:
        raise StoreError(f"{shown}: a database of another program", "name another store")
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    if len(found) != 1 or "measurements" not in tables:
        raise StoreError(f"{shown}: a database of another program", "name another store")
    (revision,) = found
    if revision > HEAD:
        raise StoreError(
            f"{shown}: written by a newer mvkit (its schema is {one_line(revision, 20)}, "
            f"this one knows {HEAD})",
            "upgrade mobilevit-kit",
        )
    return str(revision)


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")
