"""The connection to a store: transactions that hold or did not happen, faults as one line."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from converters.errors import MissingExtraError, StoreError

from .faults import damage, is_transient, store_error
from .location import shown_location
from .types import DamagedDocument

T = TypeVar("T")

BUSY_TIMEOUT = 20.0  # seconds for another command's transaction, which takes milliseconds
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds; a server that is restarted is back by then


@dataclass(frozen=True)
class Database:
    """A SQLite file or a PostgreSQL database; `shown` is its name for people.

    `reader` and `writer` are one engine, with the transactions that each needs.
    """

    reader: Engine
    writer: Engine
    shown: str

    @property
    def is_file(self) -> bool:
        return self.writer.dialect.name == "sqlite"

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives, from one consistent state of the store."""
        return self._run(self.reader, work)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction, which is on disk when this returns.

        When a server goes away, the work is done again: it must be something that may happen
        twice, since a commit may have arrived although its answer did not.
        """
        return self._run(self.writer, work)

    def _run(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        pauses = iter(_PAUSES)
        while True:
            try:
                with engine.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                pause = next(pauses, None)
                if pause is None or not is_transient(error):
                    raise store_error(self.shown, error) from None
            except DamagedDocument:
                raise damage(self.shown) from None
            time.sleep(pause)

    def close(self) -> None:
        self.writer.dispose()


def connect(place: Path | URL) -> Database:
    """Nothing is opened yet. Raises MissingExtraError without psycopg."""
    if isinstance(place, Path):
        engine = _sqlite(place)
        # Immediate: a transaction that reads first could otherwise fail when it comes to write.
        reader, writer = {"begin": "BEGIN"}, {"begin": "BEGIN IMMEDIATE"}
    else:
        engine = _postgresql(place)
        reader, writer = {"isolation_level": "REPEATABLE READ"}, {}
    return Database(
        engine.execution_options(**reader),
        engine.execution_options(**writer),
        shown_location(place),
    )


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(
            url,
            connect_args={"connect_timeout": 10, "application_name": "mvkit"},
        )
    except ImportError:
        raise MissingExtraError("psycopg", "postgresql") from None


def _sqlite(path: Path) -> Engine:
    query: dict[str, str] = {}
    database = str(path)
    new = not path.exists() or path.stat().st_size == 0
    if not new and not _is_writable(path):
        # SQLite wants to write beside a file in WAL mode even to read it. Where there is no WAL
        # nobody writes, and the file may be taken as it is.
        unchanging = not path.with_name(f"{path.name}-wal").exists()
        database = path.absolute().as_uri()
        query = {"mode": "ro", "immutable": str(int(unchanging)), "uri": "true"}
    engine = create_engine(
        URL.create("sqlite", database=database, query=query),
        connect_args={"timeout": BUSY_TIMEOUT},
    )

    @event.listens_for(engine, "connect")
    def _(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # Python's driver begins no transaction by itself
        connection.execute("PRAGMA foreign_keys = ON")
        if new:
            # Kept in the file. A writer and its readers do not wait for each other then.
            connection.execute("PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options()["begin"])

    return engine


def _is_writable(path: Path) -> bool:
    try:
        with path.open("r+b"):
            return True
    except OSError:
        return False


def make_folder(path: Path) -> None:
    """Makes the folder of a store that is to be created. Raises StoreError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{shown_location(path)}: its folder cannot be made ({error.strerror or error})"
        ) from None
