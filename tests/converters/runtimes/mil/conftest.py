"""What the tests of the evaluator share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.converters.runtimes.mil.programs import mb, normal, save_program


@pytest.fixture(scope="session")
def _small_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear layer and a ReLU, x (2,64) to out (2,4), with the weight in the weight file."""
    weight = normal(4, 64)
    return save_program(
        lambda x: mb.relu(x=mb.linear(x=x, weight=weight, name="product"), name="out"),
        {"x": ((2, 64), "fp32")},
        tmp_path_factory.mktemp("mil") / "small.mlpackage",
    )


@pytest.fixture
def small_package(_small_package: Path, tmp_path: Path) -> Path:
    """A copy of that package, which a test may damage."""
    return Path(shutil.copytree(_small_package, tmp_path / "small.mlpackage"))
