"""What happens to a store, and the one line that says so."""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from android_harness.store import Store, database, open_store, upgrade_store
from android_harness.store.store import write_measurement
from converters.errors import MissingExtraError, StoreError
from tests.android_harness.measured import measurement
from tests.android_harness.postgresql import Server, postgresql_only
from tests.android_harness.unprivileged import unprivileged


def check_line(error: StoreError, *parts: str) -> None:
    line = str(error)
    assert "\n" not in line and error.exit_code == 2
    assert all(part in line for part in parts), line


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder of ours that others may look into, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="mvkit-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_a_locked_file(tmp_path: Path, file_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    measured = measurement()
    file_store.save(measured)
    with open_store(tmp_path / "file.sqlite") as store:
        holder = sqlite3.connect(tmp_path / "file.sqlite", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as refused:
            store.save(measurement())
        check_line(refused.value, "file.sqlite: locked by another program; try again")
        assert len(store.select()) == 1  # readers do not wait
        holder.execute("ROLLBACK")
        store.save(measurement())
        holder.close()


def test_a_read_only_store_can_be_read(open_folder: Path) -> None:
    path = open_folder / "runs.sqlite"
    measured = measurement()
    with open_store(path, create=True) as store:
        store.save(measured)
    path.chmod(0o444)
    open_folder.chmod(0o555)
    with unprivileged(), open_store(path) as store:
        assert [*store.load([measured.identity])] == [measured]
        with pytest.raises(StoreError) as refused:
            store.save(measurement())
        check_line(refused.value, "runs.sqlite: read-only; allow writing")
        with pytest.raises(StoreError, match="read-only"):
            store.check_writable()


def test_a_read_only_store_that_is_being_written(open_folder: Path) -> None:
    """What is in the WAL is seen too."""
    path = open_folder / "runs.sqlite"
    with open_store(path, create=True) as writer:
        writer.save(measurement())
        for file in open_folder.iterdir():
            file.chmod(0o644)
        with unprivileged(), open_store(path) as store:
            assert len(store.select()) == 1


def test_a_folder_that_may_not_be_written(open_folder: Path) -> None:
    open_folder.chmod(0o555)
    with unprivileged():
        with pytest.raises(StoreError) as refused:
            open_store(open_folder / "runs.sqlite", create=True)
        check_line(refused.value, "runs.sqlite: cannot be opened")
        with pytest.raises(StoreError) as refused:
            open_store(open_folder / "deep" / "runs.sqlite", create=True)
        check_line(refused.value, "its folder cannot be made (Permission denied)")


@pytest.mark.parametrize("create", [False, True])
def test_a_folder_instead_of_a_file(tmp_path: Path, create: bool) -> None:
    with pytest.raises(StoreError) as refused:
        open_store(tmp_path, create=create)
    check_line(refused.value, f"{tmp_path}: not a file")


def test_a_full_disk(tmp_path: Path, file_store: Store) -> None:
    whole = measurement()
    file_store.save(replace(whole, repeats=whole.repeats[:2], validity=None))

    def most_pages(number: int) -> None:
        with file_store.database.writer.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {number}")

    most_pages(1)
    with pytest.raises(StoreError) as refused:
        for _ in range(20):
            file_store.save(measurement([float(n) for n in range(1, 50)]))
    check_line(refused.value, "file.sqlite: its disk is full", "what was stored before is safe")
    most_pages(1_000_000)
    file_store.save(whole)
    assert [*file_store.load([whole.identity])] == [whole]


def test_a_file_of_a_newer_schema(tmp_path: Path, file_store: Store) -> None:
    with sqlite3.connect(tmp_path / "file.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0042'")
    with pytest.raises(StoreError) as refused:
        open_store(tmp_path / "file.sqlite")
    check_line(
        refused.value, "file.sqlite: written by a newer mvkit (its schema is 0042", "upgrade"
    )


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    with open_store(path, create=True) as store:
        for _ in range(20):
            store.save(measurement())
    content = bytearray(path.read_bytes())
    content[8192:] = os.urandom(len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(StoreError) as refused, open_store(path) as store:
        for one in store.select():
            list(store.load([one.identity]))
    check_line(refused.value, "runs.sqlite: damaged; restore it from a copy")


@pytest.mark.parametrize("document", ["{", "{}", '{"serial": 5}', "[]"])
def test_a_damaged_document(store: Store, document: str) -> None:
    store.save(measurement())
    damage = text("UPDATE measurements SET device = :document")
    store.database.write(lambda connection: connection.execute(damage, {"document": document}))
    with pytest.raises(StoreError) as refused:
        store.select()
    check_line(refused.value, f"{store.shown}: damaged; restore it from a copy")


@pytest.mark.parametrize("content", [b"\x89PNG\r\n" * 1000, b"SQLite format 3\0" + b"x" * 5000])
def test_a_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    with pytest.raises(StoreError) as refused:
        open_store(path)
    check_line(refused.value, "photo.png: not a store of mvkit")
    assert path.read_bytes() == content


def test_a_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE contacts (name)")
    with pytest.raises(StoreError) as refused:
        open_store(path)
    check_line(refused.value, "other.sqlite: a database of another program")
    with sqlite3.connect(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("contacts",)]


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    """An interrupted command may leave one."""
    path = tmp_path / "runs.sqlite"
    path.touch()
    with open_store(path) as store:
        assert store.select() == []


def test_hostile_names_are_shown_on_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refused:
        open_store(tmp_path / "a\n\x1b[31mb.sqlite")
    check_line(refused.value, "a ?[31mb.sqlite: there is no store")


@postgresql_only
def test_a_server_that_restarts_between_two_saves(postgresql: Server) -> None:
    url = postgresql.new_store()
    upgrade_store(url)
    first, second = measurement(), measurement()
    with open_store(url) as store:
        store.save(first)
        postgresql.restart()
        store.save(second)
        assert len(store.select()) == 2


@postgresql_only
def test_a_server_that_restarts_during_a_save(
    postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is lost, the measurement is not."""
    monkeypatch.setattr(database, "_PAUSES", (0.01,))
    url = postgresql.new_store()
    upgrade_store(url)
    measured = measurement()
    tries = []

    def save(connection: Connection) -> None:
        tries.append(True)
        write_measurement(connection, measured)
        if len(tries) == 1:
            postgresql.restart()

    with open_store(url) as store:
        store.database.write(save)
        assert [*store.load([measured.identity])] == [measured]
    assert len(tries) == 2


@postgresql_only
def test_a_server_that_stays_away(postgresql: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_PAUSES", (0.01,))
    url = postgresql.new_store()
    upgrade_store(url)
    whole = measurement()
    begun = replace(whole, repeats=whole.repeats[:2], validity=None)
    with open_store(url) as store:
        store.save(begun)
        postgresql.stop()
        try:
            with pytest.raises(StoreError) as refused:
                store.save(whole)
        finally:
            postgresql.start()
        check_line(refused.value, "the server does not answer, or went away", "goes on from")
        found = store.unfinished(whole.subject, whole.device, whole.options, whole.labels)
        assert found == begun
        store.save(whole)
        assert [*store.load([whole.identity])] == [whole]


@postgresql_only
@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("53100", "its disk is full"),
        ("25006", "read-only"),
        ("42501", "you are not allowed to do this"),
        ("55P03", "locked by another program"),
        ("22012", "of no account"),
    ],
)
def test_what_a_server_reports(postgresql: Server, state: str, said: str) -> None:
    url = postgresql.new_store()
    upgrade_store(url)
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'of no account' USING ERRCODE = '{state}'; END $$"
    with open_store(url) as store, pytest.raises(StoreError) as refused:
        store.database.write(lambda connection: connection.execute(text(raising)))
    check_line(refused.value, "postgresql://", said)


@postgresql_only
def test_a_database_that_is_not_there(postgresql: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_PAUSES", ())
    with pytest.raises(StoreError) as refused:
        open_store(f"postgresql://mvkit:secret@/nothing?host={postgresql.folder}")
    check_line(refused.value, "nothing")
    assert "secret" not in str(refused.value)


def test_a_server_that_nobody_runs_and_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setattr(database, "_PAUSES", ())
    with pytest.raises(StoreError) as refused:
        open_store("postgresql://someone:secret@127.0.0.1:1/runs")
    check_line(refused.value, "postgresql://127.0.0.1:1/runs: the server does not answer")
    assert "secret" not in str(refused.value)


def test_psycopg_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'")

    monkeypatch.setattr(database, "create_engine", missing)
    with pytest.raises(MissingExtraError, match=re.escape("mobilevit-kit[postgresql]")):
        open_store("postgresql://host/runs")
