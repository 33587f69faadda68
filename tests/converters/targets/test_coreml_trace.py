"""Which shapes a package takes besides its example's, and which modules cannot have others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.errors import ConversionError, MvkitError, UsageError
from converters.preprocessing import Preprocessing
from converters.recipe import Recipe
from converters.runtimes.mil import Evaluator
from tests.converters.handmade import assert_one_line
from tests.converters.targets.forms import save_module
from tests.networks import Classifier, tiny_mobilevit

pytestmark = pytest.mark.slow
EXAMPLE = torch.zeros(1, 3, 32, 48)
SIZES = ((48, 32), (64, 64))


@pytest.mark.parametrize("kind", ["nchw", "nhwc", "image"])
def test_every_size_of_the_list_is_taken_and_no_other(kind: str, tmp_path: Path) -> None:
    module = Classifier().eval()
    file = tmp_path / "net.mlpackage"
    recipe = Recipe("coreml", sizes=SIZES, input_kind="image" if kind == "image" else "tensor")
    options: dict[str, Any] = {"layout": "nhwc"} if kind == "nhwc" else {}
    if kind == "image":
        options["preprocessing"] = Preprocessing((32, 48))
    save_module(module, EXAMPLE, file, recipe, **options)
    evaluator = Evaluator(file)
    (feature,) = evaluator.inputs
    expected = [(32, 48), *SIZES]
    shapes = [(1, *size, 3) if kind == "nhwc" else (1, 3, *size) for size in expected]
    assert set(feature.choices) == set(shapes) and feature.shape == shapes[0]
    g = np.random.default_rng(0)
    for shape in shapes:
        photo = g.integers(0, 256, shape, np.uint8)
        given = photo if kind == "image" else photo.astype(np.float32) / 255
        source = photo.transpose(0, 3, 1, 2) if kind == "nhwc" else photo
        with torch.no_grad():
            reference = module(torch.from_numpy(source.astype(np.float32) / 255)).numpy()
        (actual,) = evaluator.run({"image": given}).values()
        np.testing.assert_allclose(actual, reference, atol=1e-5)
    with pytest.raises(UsageError):
        evaluator.run({"image": np.zeros((1, 3, 40, 40), np.float32)})


def test_the_examples_own_size_alone_is_a_fixed_one(tmp_path: Path) -> None:
    recipe = Recipe("coreml", sizes=((32, 48),))
    (feature,) = Evaluator(
        save_module(Classifier(), EXAMPLE, tmp_path / "net.mlpackage", recipe)
    ).inputs
    assert (feature.shape, feature.choices) == ((1, 3, 32, 48), ())


class Sum(nn.Module):
    def forward(self, image: Tensor, other: Tensor) -> dict[str, Tensor]:
        return {"sum": image.mean((2, 3)) + other, "flat": image.flatten(1)}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_batch_up_to_the_limit_is_taken(precision: Any, tmp_path: Path) -> None:
    file = tmp_path / "net.mlpackage"
    recipe = Recipe("coreml", precision, dynamic_batch=4)
    save_module(Sum(), (torch.zeros(2, 3, 4, 5), torch.zeros(2, 3)), file, recipe)
    evaluator = Evaluator(file)
    assert [one.ranges[0] for one in evaluator.inputs] == [(1, 4), (1, 4)]
    assert [one.shape[0] for one in evaluator.inputs] == [2, 2]
    g = torch.Generator().manual_seed(0)
    for batch in (1, 2, 3, 4):
        image, other = torch.randn(batch, 3, 4, 5, generator=g), torch.randn(batch, 3, generator=g)
        actual = evaluator.run({"image": image.numpy(), "other": other.numpy()})
        for name, value in Sum()(image, other).items():
            np.testing.assert_allclose(
                actual[name], value.numpy(), atol=1e-6 if precision == "fp32" else 5e-3
            )
    with pytest.raises(UsageError):
        evaluator.run({"image": np.zeros((5, 3, 4, 5), "f4"), "other": np.zeros((5, 3), "f4")})


class Baked(nn.Module):
    """Modules that a trace ties to one shape, each in its own way."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.table = nn.Parameter(torch.randn(1, 3, 8, 8))

    def forward(self, image: Tensor) -> Tensor:
        b, c, h, w = (int(n) for n in image.shape)
        if self.how == "reshape":
            return image.reshape(b, c, h // 2, 2, w // 2, 2).mean((3, 5))
        if self.how == "number":
            return image.sum((2, 3)) / (h * w)
        if self.how == "loop":
            return torch.stack([image[:, :, i].mean(-1) for i in range(h)], 1)
        if self.how == "table":
            return image + self.table
        if self.how == "rows":
            return image.reshape(-1, w).mean(1).reshape(b, -1)
        return image.mean((0, 2, 3)) if self.how == "mixed batch" else image[0]


@pytest.mark.parametrize(
    ("how", "recipe", "error", "mentioned"),
    [
        ("reshape", Recipe("coreml", sizes=((16, 16),)), ConversionError, "16x16"),
        ("number", Recipe("coreml", sizes=((16, 16),)), ConversionError, "other values"),
        ("loop", Recipe("coreml", sizes=((16, 8),)), ConversionError, "(1, 8, 3)"),
        ("table", Recipe("coreml", sizes=((16, 16),)), UsageError, "itself fails at the size"),
        ("rows", Recipe("coreml", dynamic_batch=3), ConversionError, "a batch of 1"),
        ("mixed batch", Recipe("coreml", dynamic_batch=3), ConversionError, "(3,)"),
        ("first", Recipe("coreml", dynamic_batch=3), ConversionError, "'output'"),
    ],
)
def test_a_baked_shape_is_refused(
    how: str, recipe: Recipe, error: type[MvkitError], mentioned: str, tmp_path: Path
) -> None:
    batch = 1 if how != "rows" else 2
    with pytest.raises(error) as caught:
        save_module(Baked(how), torch.zeros(batch, 3, 8, 8), tmp_path / "n.mlpackage", recipe)
    assert_one_line(caught.value, mentioned)


def test_inputs_of_two_batches_are_refused(tmp_path: Path) -> None:
    examples = torch.zeros(1, 3, 4, 5), torch.zeros(2, 3)
    with pytest.raises(UsageError) as caught:
        save_module(Sum(), examples, tmp_path / "n.mlpackage", Recipe("coreml", dynamic_batch=4))
    assert_one_line(caught.value, "1 and 2")


def test_a_mobilevit_is_refused_by_what_its_trace_does(tmp_path: Path) -> None:
    recipe = Recipe("coreml", sizes=((128, 160),))
    with pytest.raises(ConversionError) as caught:
        save_module(tiny_mobilevit(), torch.zeros(1, 3, 128, 128), tmp_path / "n.mlpackage", recipe)
    assert_one_line(caught.value, "128x160", "1x3x128x128 is baked into the graph", "invalid for")


def test_a_module_that_cannot_be_traced(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("not in\nthis place")
            return F.relu(image)

    with pytest.raises(ConversionError) as caught:
        save_module(Odd(), EXAMPLE, tmp_path / "n.mlpackage", Recipe("coreml"))
    assert_one_line(caught.value, "torch cannot trace", "this place")
