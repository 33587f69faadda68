"""Fake phones for measuring: the real adb, with a phone in this process at the other end."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from tests.fake_phone.phone import FakePhone
from tests.fake_phone.server import adb, own_adb_server


@contextmanager
def connected_phones(count: int, **options: Any) -> Iterator[list[FakePhone]]:
    """Phones that adb knows, and nobody else's; locks and caches of the kit are thrown away.

    `options` are those of `FakePhone`.
    """
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        homes = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("CACHE", "STATE")}
        ends.enter_context(mock.patch.dict(os.environ, homes))
        os.environ.pop("ANDROID_SERIAL", None)
        (folder / "home").mkdir()
        variables = ends.enter_context(own_adb_server(folder / "home"))
        ends.enter_context(mock.patch.dict(os.environ, variables))
        phones = []
        for number in range(count):
            (folder / f"phone{number}").mkdir()
            phone = ends.enter_context(FakePhone(folder / f"phone{number}", **options))
            adb("connect", phone.serial)
            phones.append(phone)
        yield phones


def adb_version() -> str:
    return subprocess.check_output(["adb", "version"], text=True).splitlines()[1]
