"""Phones for the tests of the harness, and user folders of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    "tier",
    "tiered_phone",
]


@pytest.fixture(autouse=True)
def user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks and the host's folder lie where no other test and no user sees them."""
    for name in ("CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
