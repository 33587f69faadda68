"""CoreML packages: inputs, outputs, types and versions of what is saved, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters.errors import ConversionError, MissingExtraError, UsageError
from converters.preprocessing import Preprocessing
from converters.recipe import Recipe
from converters.runtimes.mil import Evaluator
from converters.runtimes.mil.package import open_package
from converters.runtimes.mil.program import ValueType, read_program
from converters.targets import complete, coreml
from tests.converters.handmade import assert_one_line
from tests.converters.targets.forms import save_module

IMAGE = Recipe("coreml", input_kind="image")


class Calls(nn.Module):
    """Any function of tensors as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


def ports(file: Path) -> tuple[list[tuple[str, Any, str]], list[tuple[str, Any, str]]]:
    """Name, shape and type of the inputs and outputs, as the description has them."""
    evaluator = Evaluator(file)
    inputs, outputs = (
        [(one.name, one.shape, one.dtype) for one in features]
        for features in (evaluator.inputs, evaluator.outputs)
    )
    return inputs, outputs


def test_defaults_and_options_that_exclude_each_other() -> None:
    assert complete(Recipe("coreml")).minimum_deployment_target == "iOS16"
    assert complete(
        Recipe("coreml", minimum_deployment_target="iOS18")
    ).minimum_deployment_target == "iOS18"  # fmt: skip
    for recipe, mentioned in (
        (Recipe("coreml", minimum_deployment_target="iOS15"), "iOS16, iOS17, iOS18"),
        (Recipe("coreml", sizes=((64, 64),), dynamic_batch=4), "not both"),
        (Recipe("coreml", input_kind="image", dynamic_batch=4), "one photo"),
        (Recipe("coreml", backend="xnnpack"), "--backend"),
    ):
        with pytest.raises(UsageError) as caught:
            complete(recipe)
        assert_one_line(caught.value, mentioned)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    coreml.require()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        coreml.require()
    assert_one_line(caught.value, "mobilevit-kit[coreml]")


@pytest.mark.slow
@pytest.mark.parametrize(("target", "opset"), [("iOS16", "6"), ("iOS17", "7"), ("iOS18", "8")])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_precision_is_inside_and_float32_outside(
    precision: Any, target: str, opset: str, tmp_path: Path
) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(), nn.Flatten(), nn.Linear(144, 5))
    example = torch.zeros(1, 3, 8, 8)
    file = tmp_path / "net.mlpackage"
    recipe = Recipe("coreml", precision, minimum_deployment_target=target)
    save_module(module, example, file, recipe, output_names=["logits"])
    assert ports(file) == (
        [("input", (1, 3, 8, 8), "float32")],
        [("logits", (1, 5), "float32")],
    )
    main = read_program(open_package(file)).functions["main"]
    assert main.opset == f"CoreML{opset}"
    kinds = {
        one.type.dtype
        for operation in main.block.operations
        if operation.type in ("conv", "linear")
        for one in operation.outputs
        if isinstance(one.type, ValueType)
    }
    assert kinds == {precision}
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    actual = Evaluator(file).run({"input": x.numpy()})["logits"]
    error = np.abs(actual - module(x).detach().numpy()).max()
    assert error < (1e-6 if precision == "fp32" else 2e-3)
    assert (error > 1e-5) == (precision == "fp16")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_types_that_the_format_has_not_are_substituted(precision: Any, tmp_path: Path) -> None:
    def function(x: Tensor, ids: Tensor, mask: Tensor, bytes_: Tensor, double: Tensor) -> Any:
        return {
            "picked": x[:, ids],
            "next": ids + 1,
            "flags": {"large": x > 0.5, "kept": mask},
            "sum": (bytes_.sum(), double * 2),
        }

    arrays = {
        "x": np.linspace(0, 1, 12, dtype=np.float32).reshape(1, 3, 4),
        "ids": np.array([2, 0], np.int64),
        "mask": np.array([True, False]),
        "bytes": np.array([250, 7], np.uint8),
        "double": np.array([0.5, 2.0]),
    }
    file = tmp_path / "net.mlpackage"
    tensors = [torch.from_numpy(array) for array in arrays.values()]
    save_module(
        Calls(function), tensors, file, Recipe("coreml", precision), input_names=list(arrays)
    )
    inputs, outputs = ports(file)
    assert inputs == [
        ("x", (1, 3, 4), "float32"),
        ("ids", (2,), "int32"),
        ("mask", (2,), "int32"),
        ("bytes", (2,), "int32"),
        ("double", (2,), "float32"),
    ]
    assert [(name, dtype) for name, _, dtype in outputs] == [
        ("picked", "float32"),
        ("next", "int32"),
        ("flags_large", "int32"),
        ("flags_kept", "int32"),
        ("sum_0", "int32"),
        ("sum_1", "float32"),
    ]
    given = {
        name: array.astype(coreml.FILE_DTYPES.get(array.dtype.name, array.dtype.name))
        for name, array in arrays.items()
    }
    actual = Evaluator(file).run(given)
    np.testing.assert_allclose(actual["picked"], arrays["x"][:, [2, 0]], atol=1e-3)
    np.testing.assert_array_equal(actual["next"], [3, 1])
    np.testing.assert_array_equal(actual["flags_large"], arrays["x"] > 0.5)
    np.testing.assert_array_equal(actual["flags_kept"], [1, 0])
    assert int(actual["sum_0"]) == 257
    np.testing.assert_array_equal(actual["sum_1"], [1, 4])


@pytest.mark.slow
@pytest.mark.parametrize("order", ["rgb", "bgr", "grey"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_image_is_normalised_inside(precision: Any, order: Any, tmp_path: Path) -> None:
    channels = 1 if order == "grey" else 3
    recipe = Preprocessing(
        (6, 8),
        mean=(0.4, 0.5, 0.6)[:channels],
        std=(0.2, 0.3, 0.4)[:channels],
        channel_order=order,
    )
    file = tmp_path / "net.mlpackage"
    save_module(
        Calls(lambda image: image * 2), torch.zeros(1, channels, 6, 8), file,
        Recipe("coreml", precision, input_kind="image"), preprocessing=recipe,
        input_names=["image"], output_names=["twice"],
    )  # fmt: skip
    (feature,) = Evaluator(file).inputs
    assert (feature.kind, feature.colour) == ("image", "GRAY" if order == "grey" else "RGB")
    photo = np.random.default_rng(0).integers(0, 256, (1, 6, 8, channels), np.uint8)
    actual = Evaluator(file).run({"image": photo.transpose(0, 3, 1, 2)})["twice"]
    expected = 2 * recipe.normalise(photo)
    np.testing.assert_allclose(actual, expected, atol=1e-5 if precision == "fp32" else 2e-2)


REFUSED: dict[str, tuple[Any, Any, Recipe, dict[str, Any], type[Exception], str]] = {
    "a photo as an array of bytes": (
        lambda x: x * 2, torch.zeros(1, 3, 8, 8), Recipe("coreml"),
        {"preprocessing": Preprocessing((8, 8)), "embed_preprocessing": True},
        UsageError, "--input-kind image",
    ),
    "an image of two photos": (
        lambda x: x * 2, torch.zeros(2, 3, 8, 8), IMAGE, {"preprocessing": Preprocessing((8, 8))},
        UsageError, "2,3,8,8",
    ),
    "a single number": (
        lambda x, y: x * y, (torch.zeros(2), torch.zeros(())), Recipe("coreml"),
        {"input_names": ["x", "factor"]}, UsageError, "'factor'",
    ),
    "one name for an input and an output": (
        lambda x: x * 2, torch.zeros(2), Recipe("coreml"),
        {"input_names": ["x"], "output_names": ["x"]}, UsageError, "'x'",
    ),
    "an operator that coremltools lacks": (
        lambda x: torch.linalg.svd(x)[1], torch.zeros(2, 2), Recipe("coreml"), {},
        ConversionError, "linalg_svd",
    ),
    "a tensor of six axes": (
        lambda x: x.reshape(1, 1, 1, 1, 2, 2) * 2, torch.zeros(2, 2), Recipe("coreml"), {},
        ConversionError, "rank 6",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    function, examples, recipe, options, error, mentioned = REFUSED[case]
    with pytest.raises(error) as caught:
        save_module(Calls(function), examples, tmp_path / "net.mlpackage", recipe, **options)
    assert_one_line(caught.value, mentioned)  # type: ignore[arg-type]
