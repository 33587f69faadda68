"""pytest fixtures: an adb server of the tests' own, and phones that are connected to it.

A conftest.py imports them by name:

    from tests.fake_phone.fixtures import adb_server, fake_phone, phone
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from .phone import FakePhone
from .server import adb, own_adb_server


class MakePhone(Protocol):
    def __call__(self, *, connect: bool = True, **options: Any) -> FakePhone:
        """A phone with the options of `FakePhone`; `connect` makes it known to adb."""


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """What `own_adb_server` gives, for all tests of a session."""
    if shutil.which("adb") is None:
        pytest.skip("adb is not installed (Debian's package adb, or Android's platform-tools)")
    with own_adb_server(tmp_path_factory.mktemp("adb-home")) as variables:
        yield variables


@pytest.fixture
def fake_phone(
    adb_server: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakePhone]:
    """`fake_phone(features="v1")`: makes phones, which end with the test."""
    for name, value in adb_server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    with ExitStack() as ends:
        count = 0

        def make(*, connect: bool = True, **options: Any) -> FakePhone:
            nonlocal count
            folder = tmp_path / f"phone{count}"
            count += 1
            folder.mkdir()
            made = ends.enter_context(FakePhone(folder, **options))
            ends.callback(adb, "disconnect", made.serial)
            if connect:
                adb("connect", made.serial)
            return made

        yield make


@pytest.fixture
def phone(fake_phone: MakePhone) -> FakePhone:
    """A phone of today."""
    return fake_phone()
