""".pte files that CoreML computes, on the evaluator."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters import Artifact
from converters.errors import RuntimeFailure, UnverifiableError
from converters.formats.coreml_payload import extract_coreml
from converters.formats.pte import read_pte
from converters.recipe import Recipe
from converters.runtimes.base import SessionRequest, run_file
from converters.runtimes.executorch_coreml import open_session
from converters.verify import verify
from tests.converters.handmade import assert_one_line, resign
from tests.converters.targets.forms import save_module

pytestmark = pytest.mark.slow
COREML = Recipe("executorch", backend="coreml")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What sessions unpack in this process goes with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize("name", ["classifier", "classifier-nhwc", "mixed", "mobilevit"])
def test_tiny_networks_pass(name: str, converted: Callable[..., Artifact]) -> None:
    artifact = converted(name, COREML)
    parity, graph = artifact.parity, artifact.manifest.graph
    assert parity.verdict == "pass" and parity.relative_error is not None, parity.reason
    assert parity.relative_error <= 1e-5
    assert parity.runtime is not None and "MIL evaluator" in parity.runtime
    assert graph is not None and graph.operators and "const" not in graph.operators
    assert (graph.delegate, graph.partitions, graph.outside) == ("CoreMLBackend", 1, {})


class Results(nn.Module):
    """Whole numbers, single ones, a constant, and inputs given back."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(6.0).reshape(2, 3))

    def forward(self, x: Tensor, k: Tensor) -> dict[str, Any]:
        return {"x": x, "best": x.argmax(-1), "sum": x.sum(), "scaled": x * k, "table": self.table}


def test_values_keep_the_types_and_shapes_of_the_method(tmp_path: Path) -> None:
    inputs = torch.randn(2, 3), torch.tensor(1.5)
    file = save_module(Results(), inputs, tmp_path / "a.pte", COREML)
    wanted = Results()(*inputs)
    session = open_session(SessionRequest(str(file), 1, ("x", "k"), tuple(wanted)))
    results = session.run({"x": inputs[0].numpy(), "k": inputs[1].numpy()})
    for name, tensor in wanted.items():
        assert (results[name].dtype, results[name].shape) == (tensor.numpy().dtype, tensor.shape)
        np.testing.assert_allclose(results[name], tensor, rtol=1e-6)


class Outside(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.acosh(x.abs() + 2) * 2


def test_what_is_outside_is_named_and_not_judged(tmp_path: Path) -> None:
    file = save_module(Outside(), torch.randn(2, 3), tmp_path / "a.pte", COREML)
    with pytest.raises(UnverifiableError, match=r"outside .*: aten::acosh\.out \(1\)") as caught:
        run_file("executorch_coreml", file, [], inputs=("x",), outputs=("y",))
    assert_one_line(caught.value, str(file))


def test_a_changed_weight_fails(copied: Callable[..., Path], tmp_path: Path) -> None:
    file = copied("classifier", COREML)
    data = file.read_bytes()
    (package,) = extract_coreml(read_pte(file), tmp_path / "unpacked")
    blob = (package / "Data/com.apple.CoreML/weights/weight.bin").read_bytes()
    at = data.index(blob) + 128 + 64  # behind the headers
    file.write_bytes(data[:at] + bytes(16) + data[at + 16 :])
    resign(file)
    assert verify(file).checked.parity.verdict == "fail"


def test_errors_do_not_speak_of_temporary_places(
    converted: Callable[..., Artifact], tmp_path: Path
) -> None:
    artifact = converted("classifier", COREML)
    name = artifact.manifest.inputs[0].name
    with pytest.raises(RuntimeFailure, match="its CoreML package: its input") as caught:
        run_file(
            "executorch_coreml", artifact.path, [{name: np.zeros((1, 3, 9, 9), np.float32)}],
            inputs=(name,), outputs=("y",),
        )  # fmt: skip
    assert_one_line(caught.value, str(artifact.path))
    assert "mvkit-coreml" not in str(caught.value)
