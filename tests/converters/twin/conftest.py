"""The packages of `networks.Kinds`, saved once for a test process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from converters.recipe import Precision, Recipe
from tests.converters.targets.forms import save_module
from tests.converters.twin.networks import kinds


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> dict[Precision, Path]:
    """Paths by precision; the packages must not be changed."""
    folder = tmp_path_factory.mktemp("twins")
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    return {
        precision: save_module(
            kinds(),
            torch.zeros(1, 3, 16, 16),
            folder / f"kinds-{precision}.mlpackage",
            Recipe("coreml", precision),
        )
        for precision in precisions
    }
