"""`inspect_file`: the right reader for each file, and one line for what is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from converters.errors import ArtifactError, UsageError
from converters.inspection import inspect_file
from tests.converters.handmade import assert_one_line
from tests.converters.inspection.small_tflite import SmallModel


def small_file(folder: Path) -> Path:
    model = SmallModel()
    x, y, z = (model.value((1, 4), name=name) for name in "xyz")
    model.operator("RELU", [x], [y])
    model.operator("SQUEEZE", [y], [z], "SqueezeOptions")
    return model.save(folder / "small.TFLITE", [x], [z])


@pytest.mark.slow
def test_a_file_without_a_manifest(tmp_path: Path) -> None:
    inspection = inspect_file(small_file(tmp_path))
    assert inspection.graph.format == "TFLite"
    assert [one.operator for one in inspection.breaks] == ["SQUEEZE"]
    assert inspection.gpu_refusals is not None and inspection.gpu_refusals[0].count == 1
    assert inspection.gpu_analysis is None and inspection.neural_engine is None
    document = json.loads(json.dumps(inspection.document(1)))
    assert document["format"] == "TFLite" and document["outside"] == {"SQUEEZE": 1}
    assert [node["partition"] for node in document["nodes"]] == [0, None]
    assert document["tensors"][0]["name"] == "x" and document["tensors"][0]["bytes"] == 16
    assert document["partitions"] == [{"delegate": "XNNPACK", "note": "", "operators": 1}]
    assert len(document["largest_activations"]) == 1
    assert document["gpu_delegate"]["refused"][0]["operator"] == "SQUEEZE"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["xnnpack", "coreml", "fp16"])
def test_every_format(form: str, classifier: Callable[[str], Path]) -> None:
    inspection = inspect_file(classifier(form))
    assert inspection.gpu_refusals is None
    assert (inspection.neural_engine is None) == (form == "xnnpack")
    document = json.loads(json.dumps(inspection.document(3)))
    assert (document["neural_engine"] is None) == (form == "xnnpack")
    assert len(document["nodes"]) == sum(document["operators"].values())


@pytest.mark.parametrize(
    "name",
    ["missing.tflite", "missing.mlpackage", "model.onnx", "model", "empty.pte", "a.mlpackage"],
)
def test_what_is_no_model(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if not name.startswith("missing"):
        file.touch()
    with pytest.raises(ArtifactError) as caught:
        inspect_file(file)
    assert_one_line(caught.value, str(file))
    assert ("no such file" in str(caught.value)) == name.startswith("missing")


def test_a_folder_where_a_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").mkdir()
    (tmp_path / "model.pte").mkdir()
    for file in tmp_path.iterdir():
        with pytest.raises(ArtifactError) as caught:
            inspect_file(file)
        assert_one_line(caught.value, str(file))


def test_the_gpu_delegate_is_tflites(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        inspect_file(tmp_path / "model.pte", gpu=True)
    assert_one_line(caught.value, "--gpu")
