"""TFLite's GPU delegate: its published conditions, and what TensorFlow's Analyzer is worth."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from converters.inspection import gpu_analyzer
from converters.inspection.gpu_analyzer import GpuAnalysis, analyze_for_gpu
from converters.inspection.gpu_rules import gpu_refusals
from converters.inspection.graph import Node
from converters.inspection.tflite import read_tflite
from tests.converters.inspection.handmade_graphs import make_graph, tensor
from tests.converters.inspection.small_tflite import SmallModel


def refusal(
    operator: str, *shapes: tuple[int | None, ...], constants: int = 0, **attributes: str
) -> str | None:
    """Why an operator on computed tensors of these shapes, then some constants, is refused."""
    tensors = [*(tensor(shape=shape) for shape in shapes), *[tensor(constant=True)] * constants]
    node = Node(operator, tuple(range(len(tensors))), (len(tensors),), attributes)
    found = gpu_refusals(make_graph([node], [*tensors, tensor()], (len(tensors),)))
    assert [one.count for one in found] in ([], [1])
    return found[0].reason if found else None


IMAGE = (1, 8, 8, 4)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (refusal("CONV_2D", IMAGE, constants=2), None),
        (refusal("ARG_MAX", IMAGE, constants=1), "not an operator of the GPU delegate"),
        (refusal("RESHAPE", IMAGE, constants=1), None),
        (refusal("RESHAPE", IMAGE, (4,)), "2 operands are computed"),
        (refusal("SLICE", (2, 3, 4), constants=2), None),
        (refusal("SLICE", (1, 2, 2, 3, 4), constants=2), "rank 5"),
        (refusal("SLICE", (3, 4), constants=2), "rank 2"),
        (refusal("SOFTMAX", IMAGE, beta="1.0"), None),
        (refusal("SOFTMAX", IMAGE, beta="2.0"), "beta is not 1"),
        (refusal("ADD", IMAGE, (8, 8, 4)), None),
        (refusal("ADD", IMAGE, (8, 3)), "does not broadcast"),
        (refusal("MUL", IMAGE, (1, 1, 1, 4)), None),
        (refusal("MUL", (1, 8, 1, 4), (1, 1, 8, 4)), "smaller one along some axis"),
        (refusal("MUL", (None, 8, 8, 4), IMAGE), None),
        (refusal("FULLY_CONNECTED", (1, 4), constants=2), None),
        (refusal("FULLY_CONNECTED", (1, 4), (3, 4), (3,)), "its bias is computed"),
        (refusal("SUB", IMAGE, IMAGE, fusedActivationFunction="SIGN_BIT"), "SIGN_BIT"),
    ],
)
def test_conditions(reason: str | None, expected: str | None) -> None:
    assert (reason is None) == (expected is None)
    assert expected is None or expected in str(reason)


def small_file(folder: Path) -> Path:
    model = SmallModel()
    x, y = model.value((1, 4)), model.value((1, 4))
    model.operator("RELU", [x], [y])
    return model.save(folder / "relu.tflite", [x], [y])


def fake_tensorflow(*warnings: str, sees_the_hopeless: bool) -> Any:
    """An Analyzer of an older release, or of one that has lost its check."""

    class Analyzer:
        @staticmethod
        def analyze(model_path: str, gpu_compatibility: bool) -> None:
            print(f"=== {model_path} ===\n  Op#0 RELU(T#0) -> [T#1]")
            assert gpu_compatibility
            hopeless = b"table" in Path(model_path).read_bytes()
            for text in ["no HASHTABLE"] * sees_the_hopeless if hopeless else warnings:
                print(f"GPU COMPATIBILITY WARNING: {text}")

    class Module:
        __version__ = "2.8.2"

    Module.lite = Module.experimental = Module  # type: ignore[attr-defined]
    Module.Analyzer = Analyzer  # type: ignore[attr-defined]
    return Module


@pytest.mark.parametrize(
    ("warnings", "sees", "compatible"),
    [((), True, True), (("Not supported op X",), True, False), ((), False, None)],
)
def test_an_analyzer_is_believed_if_it_can_say_no(
    warnings: tuple[str, ...], sees: bool, compatible: bool | None,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    module = fake_tensorflow(*warnings, sees_the_hopeless=sees)
    monkeypatch.setitem(sys.modules, "tensorflow", module)
    monkeypatch.setattr(gpu_analyzer, "ask", lambda _, file, __: gpu_analyzer.answer(str(file)))
    with contextlib.redirect_stdout(io.StringIO()) as text:
        found = analyze_for_gpu(small_file(tmp_path))
    assert found == GpuAnalysis("TensorFlow 2.8.2's Analyzer", compatible, warnings)
    assert text.getvalue() == ""


def test_the_hopeless_file_is_a_whole_one(tmp_path: Path) -> None:
    file = tmp_path / "hopeless.tflite"
    file.write_bytes(gpu_analyzer._hopeless())
    assert read_tflite(file).operators() == {"HASHTABLE": 1}


@pytest.mark.slow
def test_the_analyzer_that_is_installed(tmp_path: Path) -> None:
    """TensorFlow 2.21.0 has no check left; should a later one have it again, this will tell."""
    found = analyze_for_gpu(small_file(tmp_path))
    assert found.analyzer.startswith("TensorFlow 2.")
    assert found.compatible is None and found.warnings == ()
