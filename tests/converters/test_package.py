"""The package's own names: they are given on first use."""

from __future__ import annotations

import pkgutil
from types import FunctionType

import pytest

import converters
import converters.conversion
from converters import convert
from tests.mobilevit_kit.cli.test_startup import imported_by


def test_every_public_name_is_there() -> None:
    for name in converters.__all__:
        assert getattr(converters, name).__name__ == name
    assert isinstance(convert, FunctionType)


def test_no_module_takes_the_place_of_a_name() -> None:
    modules = {one.name for one in pkgutil.iter_modules(converters.__path__)}
    assert not modules & set(converters.__all__)


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'converters' has no attribute 'nothing'"):
        converters.nothing  # noqa: B018


def test_errors_alone_bring_no_numpy() -> None:
    assert not imported_by("import converters.errors") & {"numpy", "jsonschema", "torch"}
    assert "numpy" in imported_by("from converters import load_artifact")
