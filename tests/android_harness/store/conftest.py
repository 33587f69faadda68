"""Stores for tests: a new SQLite file or a new database of a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from android_harness.store import Store, open_store, upgrade_store
from tests.android_harness.postgresql import postgresql_only

POSTGRESQL = pytest.param("postgresql", marks=postgresql_only)


@pytest.fixture(params=["sqlite", POSTGRESQL])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store is, of either kind."""
    if request.param == "sqlite":
        return str(tmp_path / "runs.sqlite")
    url: str = request.getfixturevalue("postgresql").new_store()
    upgrade_store(url)
    return url


@pytest.fixture
def store(location: str) -> Iterator[Store]:
    with open_store(location, create=True) as opened:
        yield opened


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[Store]:
    """A SQLite store, for what only a file can do."""
    with open_store(tmp_path / "file.sqlite", create=True) as opened:
        yield opened
