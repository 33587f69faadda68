"""`mvkit inspect`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.converters.inspection.small_tflite import SmallModel
from tests.mobilevit_kit.cli.test_startup import imported_by, running
from tests.mobilevit_kit.commands import Call, contents

pytestmark = pytest.mark.slow


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """RELU and SQUEEZE on (1, 4), with a name that would move a terminal's cursor."""
    model = SmallModel()
    x, y, z = (model.value((1, 4), name=name) for name in ("x\x1b[2J", "y", "z"))
    model.operator("RELU", [x], [y])
    model.operator("SQUEEZE", [y], [z], "SqueezeOptions")
    return model.save(tmp_path / "small.tflite", [x], [z])


def test_the_report(mvkit: Call, file: Path) -> None:
    result = mvkit("inspect", file)
    assert (result.code, result.err) == (0, "")
    lines = [line.split() for line in result.out.splitlines()]
    assert ["format", "TFLite,", "2", "operators"] in lines
    assert ["input", "x?[2J,", "float32", "1x4"] in lines
    assert "partitions  1 (XNNPACK): 1 operator inside, 1 outside" in result.out
    assert ["SQUEEZE", "1", "1"] in lines and ["RELU", "1"] in lines
    assert "not among the operators that XNNPACK takes" in result.out
    assert "not an operator of the GPU delegate" in result.out
    assert "\x1b" not in result.out


def test_json(mvkit: Call, file: Path) -> None:
    document = mvkit("inspect", file, "--json").json
    assert document["operators"] == {"RELU": 1, "SQUEEZE": 1}
    assert document["breaks"][0]["operator"] == "SQUEEZE"
    assert document["tensors"][0]["name"] == "x\x1b[2J"


def test_quiet_is_quiet(mvkit: Call, file: Path) -> None:
    result = mvkit("inspect", file, "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_the_graph_is_drawn(mvkit: Call, file: Path) -> None:
    page = file.with_name("graph.html")
    result = mvkit("inspect", file, "--graph", page)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[-1].split() == ["graph", str(page)]
    assert page.read_text(encoding="utf-8").count('id="node-1"') == 1
    assert mvkit("inspect", file, "--quiet", "--graph", page).out == ""


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["missing.tflite"], "missing.tflite: no such file"),
        (["model.onnx"], "model.onnx: none of the files that can be inspected (.tflite"),
        (["broken.tflite"], "broken.tflite: is not a .tflite file"),
        (["small.pte", "--gpu"], "small.pte: the GPU delegate is TFLite's; --gpu is for "),
        (["small.tflite", "--graph", "graph.svg"], "graph.svg: the page's name must end in .html"),
        (["small.tflite", "--graph", "no/graph.html"], "cannot write to no: No such file"),
        (["small.tflite", "--top", "-1"], "Invalid value for '--top': -1 is not in the range"),
        ([], "Missing argument 'FILE'."),
    ],
)
def test_mistakes(
    mvkit: Call, file: Path, args: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    for name in ("model.onnx", "broken.tflite", "small.pte"):
        Path(name).write_bytes(b"something else")
    before = contents(file.parent)
    result = mvkit("inspect", *args)
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith(line)
    assert contents(file.parent) == before


def test_without_the_runtime(mvkit_process: Call, file: Path) -> None:
    result = mvkit_process("inspect", file, cwd=file.parent, absent=("ai_edge_litert",))
    assert (result.code, result.out) == (2, "")
    assert result.line == (
        "ai-edge-litert is not installed; install it with: pip install 'mobilevit-kit[verify]'"
    )


def test_without_tensorflow(mvkit_process: Call, file: Path) -> None:
    result = mvkit_process("inspect", file, "--gpu", cwd=file.parent, absent=("tensorflow",))
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith("tensorflow is not installed; install it with: ")
    result = mvkit_process("inspect", file, cwd=file.parent, absent=("tensorflow", "torch"))
    assert result.code == 0 and "GPU delegate" in result.out


def test_no_vendors_tool_is_imported(file: Path) -> None:
    loaded = imported_by(running("inspect", str(file)))
    assert not loaded & {"torch", "tensorflow", "coremltools", "executorch", "litert_torch", "jax"}
