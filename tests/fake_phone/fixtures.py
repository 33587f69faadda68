"""pytest fixtures: an adb server of the tests' own, and phones that are connected to it.

A conftest.py imports them by name:

    from tests.fake_phone.fixtures import adb_server, fake_phone, phone

`tiered_phone` runs a test twice: with programs of this host, and with those of 64-bit Arm under
QEMU, where that can be had. It needs `arm64_programs`, `arm64_tier` and `tier`, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
from filelock import FileLock

from tests.session import session_folder

from .arm64 import Arm64Userland, fetch
from .debian import NotToBeHad
from .phone import FakePhone
from .server import adb, own_adb_server
from .state import PIXEL, RUNS_HERE


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
            try:
                made = ends.enter_context(FakePhone(folder, **options))
            except NotToBeHad as missing:
                pytest.skip(str(missing))
            ends.callback(adb, "disconnect", made.serial)
            if connect:
                adb("connect", made.serial)
            return made

        yield make


@pytest.fixture
def phone(fake_phone: MakePhone) -> FakePhone:
    """A phone of today."""
    return fake_phone()


@dataclass(frozen=True)
class Tier:
    """What a phone's programs run on.

    `abi` is that of the runners that it takes (`bundled`): the phone says so, as no real one does.
    """

    abi: str
    emulated: bool
    options: Mapping[str, Any]  # of `fake_phone`


HOST_TIER = Tier("host", False, {"properties": RUNS_HERE})


@pytest.fixture(scope="session")
def arm64_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Android's shell and toybox for 64-bit Arm, fetched once for all test processes."""
    folder = session_folder(tmp_path_factory, "fake-phone") / "arm64"
    with FileLock(f"{folder}.lock"):
        try:
            if not folder.is_dir():
                fetch(folder)
        except NotToBeHad as missing:
            pytest.skip(f"no phone for 64-bit Arm: {missing}")
    return folder


@pytest.fixture
def arm64_tier(arm64_programs: Path) -> Tier:
    options = {
        "properties": PIXEL | {"ro.product.cpu.abilist": "linux-arm64", "ro.boot.qemu": "1"},
        "userland": partial(Arm64Userland, programs=arm64_programs),
    }
    return Tier("linux-arm64", True, options)


@pytest.fixture(params=["host", "arm64"])
def tier(request: pytest.FixtureRequest) -> Tier:
    return HOST_TIER if request.param == "host" else request.getfixturevalue("arm64_tier")


@pytest.fixture
def tiered_phone(tier: Tier, fake_phone: MakePhone) -> FakePhone:
    """A phone of each tier; the test is skipped, with the reason, where one cannot be had."""
    return fake_phone(**tier.options)
