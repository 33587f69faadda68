"""The four families, a few blocks of each, on every target."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from converters import Artifact
from converters.recipe import Recipe
from tests.networks import FAMILIES

pytestmark = pytest.mark.slow

RECIPES = {
    "tflite": Recipe("tflite"),
    "coreml": Recipe("coreml"),
    "coreml, iOS18": Recipe("coreml", minimum_deployment_target="iOS18"),
    "coreml, fp16": Recipe("coreml", precision="fp16"),
    "executorch": Recipe("executorch"),
    "executorch, portable": Recipe("executorch", backend="portable"),
    "executorch, coreml": Recipe("executorch", backend="coreml"),
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_passes(family: str, recipe: str, converted: Callable[..., Artifact]) -> None:
    parity = converted(family, RECIPES[recipe]).parity
    assert parity.verdict == "pass", parity.reason
    assert "photo" in {case.kind for case in parity.cases}
    assert parity.relative_error is not None
    assert parity.relative_error <= (1e-5 if RECIPES[recipe].precision == "fp32" else 2e-2)
