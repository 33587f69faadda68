"""Modules of a user's own, of every shape that a forward() has, on every target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from converters import Artifact, convert
from converters.errors import ConversionError, MvkitError, UsageError
from converters.recipe import BATCH_LIMIT, Recipe
from converters.targets import TARGETS

pytestmark = pytest.mark.slow

RECIPES = {
    "tflite": Recipe("tflite"),
    "coreml": Recipe("coreml"),
    "coreml, fp16": Recipe("coreml", precision="fp16"),
    "coreml, iOS18": Recipe("coreml", minimum_deployment_target="iOS18"),
    "executorch": Recipe("executorch"),
    "executorch, portable": Recipe("executorch", backend="portable"),
}


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


class Two(nn.Module):
    """Two inputs of different ranks, positional; a tuple of results."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(6, 4)

    def forward(self, image: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(image) * self.fc(vector).sigmoid()[:, :, None, None]
        return y.mean((2, 3)), y.amax((2, 3))


class Named(nn.Module):
    """Keyword inputs, one of them of whole numbers; nested dictionaries of results."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 6)
        self.fc = nn.Linear(6, 5)

    def forward(self, *, ids: Tensor, scale: Tensor) -> dict[str, Any]:
        words = self.table(ids) * scale
        return {"mean": words.mean(1), "heads": {"scores": self.fc(words), "first": words[:, 0]}}


class Classes(nn.Module):
    """A result of whole numbers beside one of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.fc(x)
        return scores, scores.argmax(-1)


class Same(nn.Module):
    """An input that is a result too, and one result twice."""

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        total = x + y
        return {"x": x, "total": total, "again": total}


CASES: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "two": (Two, (torch.rand(1, 3, 8, 10), torch.rand(1, 6))),
    "named": (
        Named,
        {"ids": torch.tensor([[1, 8, 0, 3]]), "scale": torch.rand(1, 4, 1) + 0.5},
    ),
    "classes": (Classes, torch.rand(3, 8)),
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("case", CASES)
def test_inputs_and_results_of_every_kind(case: str, recipe: str, tmp_path: Path) -> None:
    make, example = CASES[case]
    artifact = convert(seeded(make), example, RECIPES[recipe], output_dir=tmp_path)
    assert artifact.parity.verdict == "pass", artifact.parity.reason
    names = {
        "two": (["image", "vector"], ["output_0", "output_1"]),
        "named": (["ids", "scale"], ["mean", "heads_scores", "heads_first"]),
        "classes": (["x"], ["output_0", "output_1"]),
    }[case]
    manifest = artifact.manifest
    assert [one.name for one in manifest.inputs] == names[0]
    assert [one.name for one in manifest.outputs] == names[1]
    for record in artifact.parity.cases:
        assert [one.name for one in record.outputs] == names[1]


@pytest.mark.parametrize("target", TARGETS)
def test_a_result_that_is_an_input(target: str, tmp_path: Path) -> None:
    """Where a format cannot say so, the refusal names the reason."""
    example = (torch.rand(2, 3), torch.rand(2, 3))
    try:
        artifact = convert(Same(), example, target, output_dir=tmp_path)
    except MvkitError as error:
        assert "\n" not in str(error)
        assert list(tmp_path.iterdir()) == []
    else:
        assert artifact.parity.verdict == "pass", artifact.parity.reason


class Counter(nn.Module):
    """Keeps state, which no file can."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add_(1)  # type: ignore[operator]
        return x * self.seen


@pytest.mark.parametrize("target", TARGETS)
def test_state_is_refused_with_the_reason(target: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="changes its buffer 'seen' while it runs"):
        convert(Counter(), torch.rand(1, 3), target, output_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


class Free(nn.Module):
    """Nothing in it depends on the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.fc = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.conv(image).relu().mean((2, 3)))


class Fixed(nn.Module):
    """The batch becomes a number of Python's, and with that a constant of any trace."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image: Tensor) -> Tensor:
        y = self.conv(image)
        return y.reshape(int(y.shape[0]), -1)[:, :7]


def with_free_batch(module: nn.Module, target: str, folder: Path) -> Artifact:
    recipe = Recipe(target, dynamic_batch=BATCH_LIMIT)
    return convert(module, torch.rand(1, 3, 9, 9), recipe, output_dir=folder)


@pytest.mark.parametrize("target", TARGETS)
def test_a_dynamic_batch_is_checked_at_two_sizes(target: str, tmp_path: Path) -> None:
    artifact = with_free_batch(seeded(Free), target, tmp_path)
    assert artifact.parity.verdict == "pass", artifact.parity.reason
    sizes = {case.inputs["image"].shape[0] for case in artifact.golden()}
    assert sizes == {1, BATCH_LIMIT}
    assert artifact.manifest.inputs[0].dynamic_batch == BATCH_LIMIT


@pytest.mark.parametrize("target", TARGETS)
def test_a_batch_that_is_baked_in_is_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(MvkitError, match="batch") as caught:
        with_free_batch(seeded(Fixed), target, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", TARGETS)
def test_an_example_over_the_limit_is_refused(target: str, tmp_path: Path) -> None:
    recipe = Recipe(target, dynamic_batch=4)
    with pytest.raises(UsageError, match="input 'image' has a batch of 5, over 4"):
        convert(Free(), torch.rand(5, 3, 9, 9), recipe, output_dir=tmp_path)


class Scaled(nn.Module):
    """Operators that coremltools lacks or gets wrong, with and without their factor."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        small = 1e-3 * y.sigmoid()
        return (
            torch.addcmul(x, y, y)
            + torch.addcdiv(x, y, small + 1, value=0.3)
            + small / (1e4 * small.reciprocal())
        )


@pytest.mark.parametrize("recipe", [Recipe("coreml"), Recipe("executorch", backend="coreml")])
def test_operators_that_coreml_has_not(recipe: Recipe, tmp_path: Path) -> None:
    example = (torch.rand(2, 5), torch.rand(2, 5))
    artifact = convert(Scaled(), example, recipe, output_dir=tmp_path)
    assert artifact.parity.verdict == "pass", artifact.parity.reason
