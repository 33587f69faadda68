"""What tests of the harness share: phones, a database server, a scripted runner, user folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from android_harness.measure import Request
from android_harness.runners.choice import choose_runner
from converters import Artifact
from converters.recipe import Recipe
from tests.android_harness.postgresql import postgresql
from tests.android_harness.scripted import QUICK, scripted_bundle
from tests.fake_phone.fixtures import (
    adb_server,
    arm64_programs,
    arm64_tier,
    fake_phone,
    phone,
    tier,
    tiered_phone,
)

__all__ = [
    "adb_server",
    "arm64_programs",
    "arm64_tier",
    "fake_phone",
    "phone",
    "postgresql",
    "tier",
    "tiered_phone",
]


@pytest.fixture(autouse=True)
def user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks and the host's folder lie where no other test and no user sees them."""
    for name in ("CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))


@pytest.fixture
def artifact(
    converted: Callable[..., Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Artifact:
    """A small classifier, for which the kit finds the runner of `scripted.py`."""
    found = converted("classifier")
    scripted_bundle(tmp_path / "cache", found)
    monkeypatch.setenv("MVKIT_CACHE", str(tmp_path / "cache"))
    return found


@pytest.fixture
def plain(converted: Callable[..., Artifact]) -> Artifact:
    """The same classifier without rewrites: another file with the same golden outputs."""
    return converted("classifier", Recipe("tflite", rewrites=()))


@pytest.fixture
def request_(artifact: Artifact) -> Request:
    return Request(artifact, choose_runner("mvkit", artifact.manifest), QUICK)
