"""pytest fixtures: an adb server of the tests' own, and phones that are connected to it.

A conftest.py imports them by name:

    from tests.fake_phone.fixtures import adb_server, fake_phone, phone
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from .phone import FakePhone


class MakePhone(Protocol):
    def __call__(self, *, connect: bool = True, **options: Any) -> FakePhone:
        """A phone with the options of `FakePhone`; `connect` makes it known to adb."""


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment in which adb has a server, keys and devices of its own.

    It neither sees nor disturbs the server that a developer's phones hang on.
    """
    if shutil.which("adb") is None:
        pytest.skip("adb is not installed (Debian's package adb, or Android's platform-tools)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        "ANDROID_ADB_SERVER_PORT": str(port),
        "HOME": str(tmp_path_factory.mktemp("adb-home")),
        "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554",  # it does not look for emulators
        "ADB_MDNS": "0",
    }
    environment = {**os.environ, **variables}
    subprocess.run(["adb", "start-server"], env=environment, check=True, capture_output=True)
    yield variables
    subprocess.run(["adb", "kill-server"], env=environment, capture_output=True)


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


def adb(*arguments: str) -> str:
    """What adb prints, for the tests' own use."""
    done = subprocess.run(["adb", *arguments], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr
