"""The runtime on Apple's framework, with a stand-in for what only a Mac has.

The stand-in takes the place of coremltools' binding to the framework, below `MLModel.predict`; it
answers as the framework is documented to, with what the evaluator computes.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters.errors import RuntimeFailure, UnverifiableError
from converters.preprocessing import Preprocessing
from converters.recipe import Recipe
from converters.runtimes import coreml
from converters.runtimes.base import SessionRequest, run_file
from converters.runtimes.mil import Evaluator
from tests.converters.handmade import assert_one_line
from tests.converters.targets.forms import save_module
from tests.networks import Classifier

pytestmark = pytest.mark.slow
LABELS = ["crane", "drake", "hen", "cock", "kite", "vulture", "owl"]
BGR = Preprocessing((32, 48), channel_order="bgr")


class Proxy:
    """What coremltools calls `_MLModelProxy`: a compiled model in the framework."""

    units: str

    def __init__(self, file: str, units: str, function: str, hints: Any, asset: Any) -> None:
        Proxy.units = units
        self._evaluator = Evaluator(file)
        self.seen: dict[str, Any] = {}

    @staticmethod
    def maximum_supported_specification_version() -> int:
        return 9

    def predict(self, data: dict[str, Any], state: None) -> dict[str, Any]:
        arrays = {}
        for name, value in data.items():
            array = np.asarray(value)
            if not isinstance(value, np.ndarray):  # a picture
                array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
                array = array[None]
            arrays[name] = array
        answer: dict[str, Any] = dict(self._evaluator.run(arrays))
        if "classLabel" in answer:
            answer["classLabel"] = str(answer["classLabel"])
            pairs = zip(LABELS, answer["classLabel_probs"].tolist(), strict=True)
            # A dictionary of the framework has an order of its own.
            answer["classLabel_probs"] = dict(sorted(pairs, key=lambda pair: pair[1]))
        return answer


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    from coremltools.models import model

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(model, "_MLModelProxy", Proxy)
    monkeypatch.setattr(model, "_is_macos", lambda: True)
    monkeypatch.setattr(model, "_macos_version", lambda: (15, 0))


class Several(nn.Module):
    def forward(self, image: Tensor, ids: Tensor) -> dict[str, Tensor]:
        return {"sum": image.sum((2, 3)) + ids, "twice": ids * 2}


def test_arrays_in_and_out(mac: None, tmp_path: Path) -> None:
    file = tmp_path / "several.mlpackage"
    save_module(Several(), (torch.zeros(1, 2, 4, 5), torch.zeros(2, dtype=torch.int64)), file,
                Recipe("coreml", "fp16"))  # fmt: skip
    session = coreml.open_session(SessionRequest(str(file), 1))
    given = {
        "image": np.arange(40, dtype=np.float32).reshape(1, 2, 4, 5),
        "ids": np.array([3, 4], np.int32),
    }
    result = session.run(given)
    assert {name: (array.dtype.name, array.shape) for name, array in result.items()} == {
        "sum": ("float32", (1, 2)),
        "twice": ("int32", (2,)),
    }
    np.testing.assert_allclose(result["sum"], [[193, 594]], rtol=1e-3)
    np.testing.assert_array_equal(result["twice"], [6, 8])
    assert Proxy.units == "CPU_ONLY" and "CPU" in session.runtime
    assert [(port.name, port.shape, port.dtype) for port in session.inputs] == [
        ("image", (1, 2, 4, 5), "float32"),
        ("ids", (2,), "int32"),
    ]
    operators = session.summary().operators
    assert operators["reduce_sum"] == 1 and "const" not in operators


@pytest.mark.parametrize("channels", [3, 1])
def test_photos_and_classes(channels: int, mac: None, tmp_path: Path) -> None:
    module = Classifier()
    module.conv = nn.Conv2d(channels, 8, 3, stride=2, padding=1)
    grey = Preprocessing((32, 48), mean=(0.4,), std=(0.2,), channel_order="grey")
    file = tmp_path / "classifier.mlpackage"
    save_module(module, torch.zeros(1, channels, 32, 48), file,
                Recipe("coreml", input_kind="image"),
                labels=LABELS, preprocessing=BGR if channels == 3 else grey)  # fmt: skip
    photo = np.random.default_rng(0).integers(0, 256, (1, channels, 32, 48), np.uint8)
    session = coreml.open_session(SessionRequest(str(file), 1))
    result = session.run({"image": photo})
    expected = Evaluator(file).run({"image": photo})
    assert result.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(result[name], array)
    assert str(result["classLabel"]) == LABELS[int(result["output"].argmax())]


def test_a_dictionary_without_classes_is_refused(mac: None, tmp_path: Path) -> None:
    file = tmp_path / "several.mlpackage"
    save_module(Classifier(), torch.zeros(1, 3, 32, 48), file, Recipe("coreml"))
    session = coreml.open_session(SessionRequest(str(file), 1))
    with pytest.raises(RuntimeFailure, match="no list of classes"):
        session._as_array({"a": 1.0})


def test_elsewhere_the_file_is_unverifiable(tmp_path: Path) -> None:
    assert platform.system() != "Darwin"
    with pytest.raises(UnverifiableError) as caught:
        run_file("coreml", tmp_path / "net.mlpackage", [])
    assert_one_line(caught.value, "net.mlpackage", "macOS")
