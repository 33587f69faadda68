"""Every reference model becomes a file of every target whose verdict is pass."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from converters.manifest import Manifest
from converters.recipe import Recipe
from mobilevit_kit.jobs import Job, Workbench, run_job
from mobilevit_kit.models import list_models
from mobilevit_kit.source import SourceRequest
from tests.operator_counts import counted, kept

pytestmark = pytest.mark.slow

RECIPES = {
    "tflite": Recipe("tflite"),
    # Which makes and checks the fp32 package first, as its twin.
    "coreml": Recipe("coreml", precision="fp16"),
    "executorch": Recipe("executorch"),
}
# One of each family at a size that is not square, and whose maps the patch or window does not
# divide.
NOT_SQUARE = {
    "mobilevit_xxs": (192, 288),
    "efficientvit_m0": (160, 256),
    "edgenext_xx_small": (192, 320),
    "mobilenetv4_conv_small": (96, 160),
    "mobilenetv4_hybrid_medium": (160, 224),
}
BENCH = Workbench()


def together(names: Iterable[str], what: str) -> list[Any]:
    """Models each of which one process converts to all targets: built and run once for all."""
    group = pytest.mark.xdist_group
    return [pytest.param(name, marks=group(f"{name} {what}")) for name in names]


def verdict(request: SourceRequest, recipe: Recipe, folder: Path) -> Manifest:
    """Asserts all that a file is held to; what is recorded of the fp32 one."""
    artifact = run_job(Job(request, recipe, folder, time_on_host=False), bench=BENCH).artifact
    assert artifact is not None
    parity = artifact.parity
    assert parity.verdict == "pass", parity.reason
    assert {case.kind for case in parity.cases} == {"photo", "random"}
    if recipe.precision == "fp16":
        assert "its fp32 twin rounded, operator by operator" in parity.reason
        fp32 = Job(request, Recipe(recipe.target), folder, time_on_host=False)
        outcome = run_job(fp32, bench=BENCH)
        assert outcome.unchanged and outcome.artifact is not None
        parity = outcome.artifact.parity
        assert parity.verdict == "pass", parity.reason
        artifact = outcome.artifact
    assert parity.relative_error is not None and parity.relative_error <= 1e-5
    if recipe.target != "coreml":
        route, graph = artifact.manifest.route, artifact.manifest.graph
        assert route is not None and (route.emitter, route.reason) == ("direct", None)
        assert graph is not None and graph.partitions == 1 and graph.outside == {}
    return artifact.manifest


@pytest.mark.parametrize("target", RECIPES)
@pytest.mark.parametrize("name", together(list_models(), "at its own size"))
def test_passes_at_its_own_size(name: str, target: str, tmp_path: Path) -> None:
    manifest = verdict(SourceRequest(name), RECIPES[target], tmp_path)
    assert counted(manifest.graph) == kept()[name][target]


@pytest.mark.parametrize("target", ["tflite", "executorch"])  # CoreML has no rewrites
@pytest.mark.parametrize("name", together(list_models(), "at its own size"))
def test_passes_without_rewrites(name: str, target: str, tmp_path: Path) -> None:
    manifest = verdict(SourceRequest(name), Recipe(target, rewrites=()), tmp_path)
    assert manifest.rewrites == {}


@pytest.mark.parametrize("target", RECIPES)
@pytest.mark.parametrize("name", together(NOT_SQUARE, "not square"))
def test_passes_at_a_size_that_is_not_square(name: str, target: str, tmp_path: Path) -> None:
    verdict(SourceRequest(name, input_size=NOT_SQUARE[name]), Recipe(target), tmp_path)


@pytest.mark.parametrize("target", RECIPES)
@pytest.mark.parametrize("name", together(NOT_SQUARE, "two at once"))
def test_two_images_at_once_pass(name: str, target: str, tmp_path: Path) -> None:
    verdict(SourceRequest(name, batch=2), Recipe(target), tmp_path)


@pytest.mark.parametrize("name", list_models("*@digits"))
def test_trained_weights_pass(name: str, tmp_path: Path) -> None:
    for target in RECIPES:
        verdict(SourceRequest(name), Recipe(target), tmp_path)
