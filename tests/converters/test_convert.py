"""From a module to a verified artifact, and what is refused on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters import Artifact, convert, load_artifact
from converters.deploy import Form
from converters.errors import ConversionError, RuntimeFailure, UsageError
from converters.loud import loud_weights_
from converters.preprocessing import Preprocessing
from converters.recipe import Recipe
from converters.route import Route
from converters.targets import tflite
from tests.networks import Classifier, make_case

Converted = Callable[[str], Artifact]


@pytest.mark.parametrize(
    "name",
    [
        "classifier",
        "classifier-nhwc",
        "classifier-uint8-nhwc",
        "classifier-uint8-nchw",
        "mobilevit",
    ],
)
def test_photos_pass_in_every_layout(converted: Converted, name: str) -> None:
    artifact = converted(name)
    assert artifact.parity.verdict == "pass", artifact.parity.reason
    kinds = [case.kind for case in artifact.parity.cases]
    assert kinds.count("photo") == 4 and kinds.count("random") == 2
    assert artifact.parity.relative_error is not None
    assert 0 < artifact.parity.relative_error <= 1e-5


def test_manifest_describes_the_file(converted: Converted) -> None:
    manifest = converted("classifier-uint8-nhwc").manifest
    (image,) = manifest.inputs
    assert (image.name, image.shape, image.dtype) == ("image", (2, 32, 48, 3), "uint8")
    assert image.layout == "NHWC" and image.preprocessing_embedded
    assert image.preprocessing is not None and image.preprocessing.channel_order == "bgr"
    (scores,) = manifest.outputs
    assert (scores.shape, scores.dtype) == ((2, 7), "float32")
    assert manifest.graph is not None and manifest.graph.operators["CONV_2D"] == 1
    assert manifest.graph.partitions
    assert manifest.source.parameters == sum(p.numel() for p in Classifier().parameters())
    # Two images: the convolution's 16x24 outputs, then the linear layer.
    assert manifest.source.macs == 2 * (8 * 16 * 24 * 27 + 8 * 7)
    assert manifest.source.weights.kind == "module"
    assert manifest.host_latency is not None and manifest.host_latency.median_ms > 0
    assert manifest.cost.seconds > 0 and manifest.cost.peak_memory_mib > 100
    assert {"torch", "litert-torch", "ai-edge-litert"} <= set(manifest.tools)


def test_uint8_photos_reach_the_source_through_numpy_alone(converted: Converted) -> None:
    """The golden outputs are those of the plain module on normalised photos."""
    artifact = converted("classifier-uint8-nchw")
    case = artifact.golden()[0]
    photos = case.inputs["image"]
    assert photos.dtype == np.uint8 and photos.shape == (2, 3, 32, 48)
    bgr = photos[:, ::-1].astype(np.float32) / 255
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.4])
    x = ((bgr - mean[:, None, None]) / std[:, None, None]).astype(np.float32)
    expected = loud_weights_(Classifier()).eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(case.outputs["output"], expected, rtol=1e-5, atol=1e-6)


def test_several_inputs_nested_outputs_and_whole_numbers(converted: Converted) -> None:
    manifest = converted("mixed").manifest
    assert [(one.name, one.shape, one.dtype) for one in manifest.inputs] == [
        ("image", (1, 2, 9, 7), "float32"),
        ("ids", (1, 5), "int32"),
    ]
    assert [one.name for one in manifest.outputs] == ["pooled", "both_0", "both_1"]
    assert manifest.parity.verdict == "pass", manifest.parity.reason
    assert "example" in [case.kind for case in manifest.parity.cases]
    assert "no photo" in manifest.parity.reason


def test_keyword_examples(tmp_path: Path) -> None:
    case = make_case("mixed")
    image, ids = case.example_inputs
    artifact = convert(case.module, {"ids": ids, "image": image}, output_dir=tmp_path)
    assert [one.name for one in artifact.manifest.inputs] == ["ids", "image"]
    assert artifact.parity.verdict == "pass"


def test_the_same_request_returns_at_once_and_another_needs_force(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = copied("classifier")
    case = make_case("classifier")
    before = file.stat().st_mtime_ns
    monkeypatch.setattr(tflite, "save", None)  # any conversion would fail now

    def again(**changed: Any) -> Artifact:
        options = {"name": "classifier", "output_dir": file.parent, **case.options, **changed}
        return convert(case.module, case.example_inputs, **options)

    assert again().path == file
    assert file.stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="--force"):
        again(layout="nhwc")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UsageError, match="not whole"):
        again()


class Wave(nn.Module):
    """Two functions with the same structure, weights and name."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def test_another_function_under_the_same_name_is_noticed(tmp_path: Path) -> None:
    x = torch.linspace(-1, 1, 12)
    convert(Wave(torch.sin), x, output_dir=tmp_path)
    with pytest.raises(UsageError, match="--force"):
        convert(Wave(torch.cos), x, output_dir=tmp_path)
    assert convert(Wave(torch.sin), x, output_dir=tmp_path).parity.verdict == "pass"


def test_a_file_that_does_not_run_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tflite, "save", lambda form, path, recipe: path.write_bytes(b"TFL3"))
    with pytest.raises(RuntimeFailure, match=r"^the new Classifier-fp32.tflite: the runtime"):
        convert(Classifier(), torch.ones(1, 3, 32, 48), output_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_force_replaces_and_no_verify_is_unverified(copied: Callable[[str], Path]) -> None:
    file = copied("classifier")
    case = make_case("classifier")
    options = {**case.options, "layout": "nhwc"}
    artifact = convert(
        case.module, case.example_inputs, name="classifier", output_dir=file.parent,
        force=True, verify=False, **options,
    )  # fmt: skip
    assert artifact.path == file
    assert load_artifact(file).parity.verdict == "unverified"
    assert artifact.manifest.graph is None and artifact.manifest.host_latency is None
    # The same request, now with a verdict wanted, is not "unchanged".
    artifact = convert(
        case.module, case.example_inputs, name="classifier", output_dir=file.parent, **options
    )
    assert artifact.parity.verdict == "pass"


def test_a_failed_file_never_has_the_good_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = tflite.save

    def save_another(form: Form, path: Path, recipe: Recipe) -> Route:
        with torch.no_grad():
            form.module.source.fc.weight[3] *= 1.001  # type: ignore[union-attr]
            return save(form, path, recipe)

    monkeypatch.setattr(tflite, "save", save_another)
    case = make_case("classifier")
    artifact = convert(case.module, case.example_inputs, output_dir=tmp_path, **case.options)
    assert artifact.parity.verdict == "fail"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "Classifier-fp32-FAILED.tflite",
        "Classifier-fp32-FAILED.tflite.golden.npz",
        "Classifier-fp32-FAILED.tflite.json",
    ]
    assert load_artifact(artifact.path).parity.verdict == "fail"


class Counter(nn.Module):
    """Keeps state, which no file can."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return x * self.seen


class Dice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class NoTensor(nn.Module):
    def forward(self, x: Tensor) -> str:
        return "nothing"


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x).real


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Counter(), "changes its buffer 'seen'"),
        (Dice(), "different outputs for the same input"),
        (NoTensor(), "returns a str among its outputs"),
        (TwoInputs(), "missing a required argument: 'y'"),
        (nn.Linear(9, 2), "fails on its inputs: mat1 and mat2"),
        (Unknown(), "litert-torch cannot convert"),
    ],
)
def test_modules_that_cannot_be_converted(module: nn.Module, message: str, tmp_path: Path) -> None:
    with pytest.raises((ConversionError, UsageError), match=message) as caught:
        convert(module, torch.ones(2, 3, 3), output_dir=tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "tflight"}, "did you mean tflite"),
        ({"name": "../escape"}, "cannot be a file name"),
        ({"embed_preprocessing": True}, "needs to know it"),
        ({"preprocessing": Preprocessing((32, 32))}, "gives 32x32, the input is 32x48"),
        ({"preprocessing": Preprocessing((32, 48), mean=(0.5,))}, "has 1 means and 3 deviations"),
        ({"labels": ["a", "b"]}, "2 class names"),
        ({"input_names": ["a", "b"]}, "2 input names for 1 inputs"),
        ({"output_names": ["a", "b"]}, "2 output names for 1 outputs"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        convert(Classifier(), torch.ones(1, 3, 32, 48), output_dir=tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_the_module_is_left_as_it_was(tmp_path: Path) -> None:
    module = Classifier().train()
    module.norm.eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    convert(module, torch.ones(1, 3, 32, 48), output_dir=tmp_path, verify=False)
    assert module.training and module.conv.training and not module.norm.training
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())
