"""Tests for a real phone: `make test-device SERIAL=...`. Without a serial they are deselected."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--serial", help="the phone that the tests marked `device` are run on")
    parser.addoption(
        "--file", type=Path, help="a converted file to measure there; by default a tiny network"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Where this folder is one of several, its options come too late to be on the command line.
    if config.getoption("--serial", default=None) is not None:
        return
    left = [item for item in items if item.get_closest_marker("device") is None]
    if len(left) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in left])
        items[:] = left
