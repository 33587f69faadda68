"""Metadata, names and bytes of a saved package."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from converters.errors import ConversionError
from converters.preprocessing import Preprocessing
from converters.recipe import Recipe
from converters.runtimes.mil.package import open_package
from tests.converters.handmade import assert_one_line
from tests.converters.targets.forms import save_module
from tests.networks import Classifier

pytestmark = pytest.mark.slow
EXAMPLE = torch.zeros(1, 3, 32, 48)
PHOTO = Preprocessing((32, 48), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), channel_order="bgr")
LABELS = ["a", "b", "c", "d", "e", "f", "č"]


def test_the_metadata_are_those_of_the_recipe(tmp_path: Path) -> None:
    recipe = Recipe(
        "coreml", author="A. Author", licence="MIT", version="1.2", description="What it does"
    )
    file = save_module(
        Classifier(), EXAMPLE, tmp_path / "n.mlpackage", recipe, labels=LABELS, preprocessing=PHOTO
    )
    description = open_package(file).model.description
    metadata = description.metadata
    assert (metadata.author, metadata.license) == ("A. Author", "MIT")
    assert (metadata.versionString, metadata.shortDescription) == ("1.2", "What it does")
    assert json.loads(metadata.userDefined["labels"]) == LABELS
    assert not any("date" in key for key in metadata.userDefined)
    assert description.input[0].shortDescription == (
        "photo (B,C,H,W), bgr in 0..1, minus 0.4, 0.5, 0.6, divided by 0.2, 0.3, 0.4"
    )
    assert description.output[0].shortDescription == "one value for each of 7 classes"
    assert not description.predictedFeatureName  # an array goes in, so nobody asks for a label


def test_without_any_there_are_none(tmp_path: Path) -> None:
    file = save_module(Classifier(), EXAMPLE, tmp_path / "n.mlpackage", Recipe("coreml"))
    description = open_package(file).model.description
    assert not description.metadata.author and "labels" not in description.metadata.userDefined
    assert description.input[0].shortDescription == "float32 (B,C,H,W)"


class Twice(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = x * 2
        return {"first": y, "second": y}


@pytest.mark.parametrize(
    ("module", "names", "mentioned"),
    [
        (nn.ReLU(), {"input_names": ["a-b"]}, ["'a-b'", "'a_b'"]),
        (nn.ReLU(), {"output_names": ["state"]}, ["'state'"]),
        (Twice(), {}, ["'first'", "'second'"]),
    ],
)
def test_names_that_cannot_be_kept_are_refused(
    module: nn.Module, names: dict[str, list[str]], mentioned: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ConversionError) as caught:
        save_module(module, torch.zeros(2, 3), tmp_path / "n.mlpackage", Recipe("coreml"), **names)
    assert_one_line(caught.value, *mentioned)


def test_trouble_with_the_disk_is_no_fault_of_the_module(tmp_path: Path) -> None:
    nowhere = tmp_path / "missing" / "n.mlpackage"
    with pytest.raises(OSError, match="cannot write: filesystem error"):
        save_module(nn.ReLU(), torch.zeros(2, 3), nowhere, Recipe("coreml"))


def digests(package: Path) -> dict[str, str]:
    return {
        str(file.relative_to(package)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(package.rglob("*"))
        if file.is_file()
    }


_IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from tests.converters.targets.test_coreml_package import save_photo_classifier
save_photo_classifier(Path(sys.argv[1]))
"""


def save_photo_classifier(file: Path) -> Path:
    torch.manual_seed(0)
    recipe = Recipe("coreml", "fp16", input_kind="image", sizes=((64, 64),))
    return save_module(Classifier(), EXAMPLE, file, recipe, labels=LABELS, preprocessing=PHOTO)


def test_the_same_network_gives_the_same_bytes_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    here = save_photo_classifier(tmp_path / "here.mlpackage")
    assert list(scratch.iterdir()) == []
    there = tmp_path / "there.mlpackage"
    environment = os.environ | {"PYTHONHASHSEED": "7", "TMPDIR": str(scratch)}
    command = [sys.executable, "-c", _IN_ANOTHER_PROCESS, str(there)]
    subprocess.run(command, check=True, env=environment, timeout=120)
    assert digests(here) == digests(there)
    assert len(digests(here)) == 3  # manifest, model, weights
