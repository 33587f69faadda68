"""A phone that runs the scripted runner, and a store for what is measured on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from android_harness.devices import Device, open_device
from android_harness.store import Store, open_store
from tests.fake_phone.fixtures import MakePhone
from tests.fake_phone.phone import FakePhone
from tests.fake_phone.state import RUNS_HERE


@pytest.fixture
def phone(fake_phone: MakePhone) -> FakePhone:
    return fake_phone(properties=RUNS_HERE)


@pytest.fixture
def device(phone: FakePhone) -> Device:
    return open_device(phone.serial)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of the store."""
    return tmp_path / "runs.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with open_store(path, create=True) as opened:
        yield opened
