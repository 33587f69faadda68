"""What a classifier, converted or in PyTorch, sees in photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from converters.artifact import load_artifact
from converters.checking import runtimes_of
from converters.errors import UsageError
from converters.manifest import TensorSpec
from converters.preprocessing import Preprocessing
from converters.runtimes.base import run_file
from converters.verify import recipe_of

from .images import load_photos
from .source import SourceRequest, build_source, preprocessing_of

if TYPE_CHECKING:
    from numpy import uint8

TOP = 5


@dataclass(frozen=True)
class Guess:
    label: str
    probability: float


@dataclass(frozen=True)
class Predictions:
    """The first five classes of each photo, and the weights they rest on."""

    weights: str
    photos: dict[str, tuple[Guess, ...]]


def predict_file(file: Path, photos: Sequence[Path]) -> Predictions:
    """Runs an artifact on photos, through the preprocessing in its manifest; needs no torch."""
    artifact = load_artifact(file)
    manifest = artifact.manifest
    if len(manifest.inputs) != 1 or manifest.inputs[0].preprocessing is None:
        raise UsageError(f"{file} does not take a photo: its manifest has no preprocessing")
    image, scores = manifest.inputs[0], manifest.outputs[0]
    pixels = load_photos(photos, _recipe(image))
    cases = [{image.name: _input(photo, image)} for photo in pixels.values()]
    kind, *_ = runtimes_of(recipe_of(artifact))
    names = [one.name for one in manifest.outputs]
    run = run_file(kind, file, cases, inputs=[image.name], outputs=names)
    logits = [result[scores.name] for result in run.results]
    guesses = [_top(one, scores.labels, str(file)) for one in logits]
    return Predictions(manifest.source.weights.describe(), dict(zip(pixels, guesses, strict=True)))


def predict_model(request: SourceRequest, photos: Sequence[Path]) -> Predictions:
    """Runs a reference model in PyTorch."""
    recipe = preprocessing_of(request)
    assert recipe is not None
    pixels = load_photos(photos, recipe)
    source = build_source(request)
    import torch

    module = source.module.eval()
    guesses = []
    with torch.inference_mode():
        for photo in pixels.values():
            logits = module(torch.from_numpy(recipe.normalise(photo[None])))
            guesses.append(_top(logits.numpy(), source.labels, request.model))
    weights = source.origin.weights.describe()
    return Predictions(weights, dict(zip(pixels, guesses, strict=True)))


def _recipe(image: TensorSpec) -> Preprocessing:
    assert image.preprocessing is not None
    return image.preprocessing


def _input(photo: NDArray[uint8], image: TensorSpec) -> NDArray[Any]:
    """One photo (H, W, C), repeated over the batch, in the file's type and layout."""
    batch = np.repeat(photo[None], image.shape[0], axis=0)
    if image.preprocessing_embedded:
        return batch if image.layout == "NHWC" else batch.transpose(0, 3, 1, 2).copy()
    x = _recipe(image).normalise(batch)
    return x.transpose(0, 2, 3, 1).copy() if image.layout == "NHWC" else x


def _top(logits: NDArray[Any], labels: Sequence[str] | None, name: str) -> tuple[Guess, ...]:
    """The first five of (B, classes), by the softmax of the first row."""
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise UsageError(f"{name} is no classifier: its output has shape {logits.shape}")
    scores = np.exp(logits[0].astype(np.float64) - logits[0].max())
    scores /= scores.sum()
    best = np.argsort(-scores, kind="stable")[:TOP]
    return tuple(Guess(labels[i] if labels else f"class {i}", float(scores[i])) for i in best)
