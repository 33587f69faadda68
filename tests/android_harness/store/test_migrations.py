"""The schema, and how an older one becomes it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from android_harness.store import Store, open_store, schema, upgrade_store
from android_harness.store import store as store_module
from android_harness.store.tables import HEAD, metadata
from converters.errors import StoreError
from tests.android_harness.measured import measurement
from tests.android_harness.postgresql import Server
from tests.android_harness.store.conftest import POSTGRESQL

LATER = '''
"""A schema of the future."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("measurements", sa.Column("mood", sa.Text()))
    FAULT
'''


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema._MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_migrations_make_the_tables_of_the_code(store: Store) -> None:
    with store.database.reader.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def columns(store: Store) -> set[str]:
    with store.database.reader.connect() as connection:
        return {one["name"] for one in inspect(connection).get_columns("measurements")}


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`with_later(fault)` on: this code is of the release after a migration."""
    folder = tmp_path / "migrations"
    shutil.copytree(schema._MIGRATIONS, folder)
    script = folder / "versions" / "0002_later.py"
    script.write_text(LATER.replace("FAULT", ""))
    yield script
    monkeypatch.undo()


def become_later(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_MIGRATIONS", script.parents[1])
    monkeypatch.setattr(schema, "HEAD", "0002")
    monkeypatch.setattr(store_module, "HEAD", "0002")


def test_an_older_file_is_upgraded_when_it_is_opened(
    later: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = measurement()
    with open_store(tmp_path / "runs.sqlite", create=True) as store:
        store.save(measured)
    become_later(later, monkeypatch)
    with open_store(tmp_path / "runs.sqlite") as store:
        assert "mood" in columns(store)
        assert [*store.load([measured.identity])] == [measured]


@pytest.mark.parametrize("server", [POSTGRESQL])
def test_a_server_is_upgraded_when_that_is_asked_for(
    server: str, request: pytest.FixtureRequest, later: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgresql: Server = request.getfixturevalue(server)
    url = postgresql.new_store()
    with pytest.raises(StoreError, match="it has no tables yet; run `mvkit store upgrade` once"):
        open_store(url, create=True)
    assert upgrade_store(url) == (None, "0001")
    measured = measurement()
    with open_store(url) as store:
        store.save(measured)
    assert upgrade_store(url) == ("0001", "0001")
    become_later(later, monkeypatch)
    with pytest.raises(StoreError, match="its schema is 0001, not 0002; run `mvkit store upgrade`"):
        open_store(url)
    assert upgrade_store(url) == ("0001", "0002")
    with open_store(url) as store:
        assert "mood" in columns(store)
        assert [*store.load([measured.identity])] == [measured]


@pytest.mark.parametrize("kind", ["sqlite", POSTGRESQL])
def test_an_upgrade_that_fails_changes_nothing(
    kind: str, request: pytest.FixtureRequest, later: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    where = str(tmp_path / "runs.sqlite")
    if kind == "postgresql":
        where = request.getfixturevalue("postgresql").new_store()
        upgrade_store(where)
    with open_store(where, create=True) as store:
        store.save(measurement())
    with monkeypatch.context() as patch:
        later.write_text(LATER.replace("FAULT", "raise KeyboardInterrupt"))
        become_later(later, patch)
        with pytest.raises(KeyboardInterrupt):
            upgrade_store(where)
    with open_store(where) as store:
        assert len(store.select()) == 1
        assert "mood" not in columns(store)
