"""The last touches on a converted package: classifier, descriptions, metadata.

The same network gives the same bytes: coremltools' date, its random identifiers and the order in
which protobuf happens to write a map are not left as they are.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..deploy import Form
from ..errors import ConversionError
from ..manifest import TensorSpec
from ..recipe import Recipe
from .coreml_classes import append_classifier

# What the parts of a package are called in its manifest, as in every package of coremltools.
_AUTHOR = "com.apple.CoreML"
_PARTS = {
    f"{_AUTHOR}/model.mlmodel": "CoreML Model Specification",
    f"{_AUTHOR}/weights": "CoreML Model Weights",
}
_CONVERSION_DATE = "com.github.apple.coremltools.conversion_date"


def finish(spec: Any, path: Path, form: Form, recipe: Recipe) -> None:
    """Completes `spec`, the model of the package that stands at `path`, and writes it there.

    `spec` is of message type `CoreML.Specification.Model`. Raises ConversionError when the
    converter could not keep a name.
    """
    _check_names([one.spec.name for one in form.interface.inputs], spec.description.input)
    _check_names(form.output_names, spec.description.output)
    _describe(spec, form, recipe)
    if form.labels is not None and recipe.input_kind == "image":
        append_classifier(spec, form.labels, str(recipe.minimum_deployment_target))
    _write(spec, path)


def _check_names(wanted: Sequence[str], features: Any) -> None:
    given = [feature.name for feature in features]
    for name, other in zip(wanted, given, strict=True):
        if given.count(other) > 1:
            raise ConversionError(f"CoreML cannot give one result twice, as '{name}' and '{other}'")
        if name != other:
            raise ConversionError(
                f"CoreML cannot call an input or output '{name}', only '{other}'",
                "give it another name",
            )


def _describe(spec: Any, form: Form, recipe: Recipe) -> None:
    for one, feature in zip(form.interface.inputs, spec.description.input, strict=True):
        feature.shortDescription = _input_description(one.spec)
    if form.labels is not None:
        text = f"one value for each of {len(form.labels)} classes"
        spec.description.output[0].shortDescription = text
    metadata = spec.description.metadata
    metadata.author = recipe.author or ""
    metadata.license = recipe.licence or ""
    metadata.versionString = recipe.version or ""
    metadata.shortDescription = recipe.description or ""
    del metadata.userDefined[_CONVERSION_DATE]
    if form.labels is not None:
        metadata.userDefined["labels"] = json.dumps(form.labels, ensure_ascii=False)


def _input_description(spec: TensorSpec) -> str:
    """What an app has to put into an input, for people."""
    if spec.kind == "image":
        return f"{'grey' if spec.shape[1] == 1 else 'RGB'} photo; the model normalises it"
    axes = f" ({','.join(spec.layout.replace('N', 'B'))})" if spec.layout else ""
    recipe = spec.preprocessing
    if recipe is None:
        return f"{spec.dtype}{axes}"
    return (
        f"photo{axes}, {recipe.channel_order} in 0..1, minus {_numbers(recipe.mean)}, "
        f"divided by {_numbers(recipe.std)}"
    )


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _write(spec: Any, path: Path) -> None:
    data = path / "Data"
    model = data / _AUTHOR / "model.mlmodel"
    model.write_bytes(spec.SerializeToString(deterministic=True))
    entries = {
        str(uuid.uuid5(uuid.NAMESPACE_URL, part)): {
            "author": _AUTHOR,
            "description": description,
            "name": Path(part).name,
            "path": part,
        }
        for part, description in _PARTS.items()
        if (data / part).exists()
    }
    root = next(key for key, entry in entries.items() if entry["name"] == model.name)
    document = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": root,
    }
    (path / "Manifest.json").write_text(json.dumps(document, indent=4) + "\n", encoding="utf-8")
