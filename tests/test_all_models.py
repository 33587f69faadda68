"""Every reference model becomes a TFLite file whose verdict is pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.recipe import Recipe
from mobilevit_kit.jobs import Job, run_job
from mobilevit_kit.models import list_models
from mobilevit_kit.source import SourceRequest

pytestmark = pytest.mark.slow

# One of each family at a size that is not square, and whose maps the patch or window does not
# divide.
NOT_SQUARE = {
    "mobilevit_xxs": (192, 288),
    "efficientvit_m0": (160, 256),
    "edgenext_xx_small": (192, 320),
    "mobilenetv4_conv_small": (96, 160),
    "mobilenetv4_hybrid_medium": (160, 224),
}


def verdict(request: SourceRequest, folder: Path) -> None:
    artifact = run_job(Job(request, Recipe("tflite"), folder, time_on_host=False)).artifact
    assert artifact is not None
    parity = artifact.parity
    assert parity.verdict == "pass", parity.reason
    assert {case.kind for case in parity.cases} == {"photo", "random"}
    assert parity.relative_error is not None and parity.relative_error <= 1e-5


@pytest.mark.parametrize("name", list_models())
def test_passes_at_its_own_size(name: str, tmp_path: Path) -> None:
    verdict(SourceRequest(name), tmp_path)


@pytest.mark.parametrize("name", NOT_SQUARE)
def test_passes_at_a_size_that_is_not_square(name: str, tmp_path: Path) -> None:
    verdict(SourceRequest(name, input_size=NOT_SQUARE[name]), tmp_path)


@pytest.mark.parametrize("name", list_models("*@digits"))
def test_trained_weights_pass(name: str, tmp_path: Path) -> None:
    verdict(SourceRequest(name), tmp_path)
