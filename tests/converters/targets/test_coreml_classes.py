"""The classifier of a package that takes photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters.errors import MvkitError, UsageError
from converters.preprocessing import Preprocessing
from converters.recipe import Recipe
from converters.runtimes.mil import Evaluator
from converters.runtimes.mil.package import open_package
from converters.targets.coreml_classes import LABEL, PROBABILITIES, class_outputs
from converters.twin import compare_files
from tests.converters.handmade import assert_one_line
from tests.converters.targets.forms import save_module

LABELS = ["crane", "čáp", "hen", "kite's", "owl"]
PHOTO = Preprocessing((6, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


class Network(nn.Module):
    """Logits (1, 5), and a map beside them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)  # photos of noise are of several classes
        self.conv = nn.Conv2d(3, 5, 3, bias=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.conv(image)
        return {"logits": 4 * features.mean((2, 3)), "features": features}


def saved(folder: Path, module: nn.Module, **changes: Any) -> Path:
    recipe = changes.pop("recipe", Recipe("coreml", input_kind="image"))
    options = {"labels": LABELS, "preprocessing": PHOTO, "input_names": ["image"]} | changes
    folder.mkdir(exist_ok=True)
    file = folder / f"net-{recipe.precision}.mlpackage"
    return save_module(module, torch.zeros(1, 3, 6, 8), file, recipe, **options)


def test_the_expected_outputs_are_the_softmax_and_its_largest() -> None:
    logits = np.array([[1000.0, 1001.0, 999.0]], np.float32)
    expected = class_outputs(logits, ["a", "b", "c"])
    assert expected[LABEL].shape == () and str(expected[LABEL]) == "b"
    softmax = torch.from_numpy(logits).double().softmax(1)[0].numpy()
    np.testing.assert_allclose(expected[PROBABILITIES], softmax, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_label_and_probabilities_come_before_the_networks_own_outputs(
    target: str, tmp_path: Path
) -> None:
    module = Network()
    files = [
        saved(tmp_path, module, recipe=Recipe(
            "coreml", precision, minimum_deployment_target=target, input_kind="image",
        ))
        for precision in ("fp32", "fp16")
    ]  # fmt: skip
    g = np.random.default_rng(0)
    for file, tolerance in zip(files, (1e-5, 2e-2), strict=True):
        evaluator = Evaluator(file)
        names = [one.name for one in evaluator.outputs]
        assert names == [LABEL, PROBABILITIES, "logits", "features"]
        labels = set()
        for _ in range(8):
            photo = g.integers(0, 256, (1, 6, 8, 3), np.uint8)
            actual = evaluator.run({"image": photo.transpose(0, 3, 1, 2)})
            with torch.no_grad():
                reference = module(torch.from_numpy(PHOTO.normalise(photo)))
            for name, value in reference.items():
                np.testing.assert_allclose(actual[name], value.numpy(), atol=tolerance)
            expected = class_outputs(actual["logits"], LABELS)
            np.testing.assert_allclose(actual[PROBABILITIES], expected[PROBABILITIES], atol=1e-6)
            assert str(actual[LABEL]) == str(expected[LABEL])
            labels.add(str(actual[LABEL]))
        assert len(labels) > 1
        description = open_package(file).model.description
        assert description.predictedFeatureName == LABEL
        assert description.predictedProbabilitiesName == PROBABILITIES
    assert compare_files(*files) == []
    # Labels in another order are another program.
    other = saved(tmp_path / "other", module, labels=LABELS[::-1], recipe=Recipe(
        "coreml", "fp16", minimum_deployment_target=target, input_kind="image",
    ))  # fmt: skip
    (difference,) = compare_files(files[0], other)
    assert difference.operator.startswith("classify") and "classes" in difference.what


@pytest.mark.slow
def test_at_every_size(tmp_path: Path) -> None:
    file = saved(tmp_path, Network(), recipe=Recipe("coreml", input_kind="image", sizes=((8, 8),)))
    photo = np.zeros((1, 3, 8, 8), np.uint8)
    actual = Evaluator(file).run({"image": photo})
    assert actual["features"].shape == (1, 5, 6, 6)
    np.testing.assert_allclose(
        actual[PROBABILITIES], class_outputs(actual["logits"], LABELS)[PROBABILITIES], atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "mentioned"),
    [
        ({"labels": LABELS[:4]}, "'logits' is (1, 5)"),
        ({"labels": [*LABELS[:4], "hen"]}, "'hen'"),
        ({"output_names": ["logits", LABEL]}, PROBABILITIES),
    ],
)
def test_labels_that_cannot_be_are_refused(
    changes: dict[str, Any], mentioned: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        saved(tmp_path, Network(), **changes)
    error: MvkitError = caught.value
    assert_one_line(error, mentioned)
