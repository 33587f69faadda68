"""Stand-ins for a runtime; see `standins`."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from converters.runtimes import base
from tests.converters.runtimes.standins import AS_RUNTIME, DOUBLER, Stand, instead_of_python


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    def replace(code: str) -> None:
        monkeypatch.setattr(base.sys, "executable", instead_of_python(code, tmp_path))

    return replace


@pytest.fixture
def runtime(child: Stand) -> Stand:
    """`runtime(code)`: the kind "standin", with `code` after the definition of a doubler."""

    def replace(code: str) -> None:
        child(AS_RUNTIME.format(code=DOUBLER + textwrap.dedent(code)))

    return replace
