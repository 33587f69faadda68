"""What a user asks to have converted, as data, and the network that comes of it.

A `SourceRequest` is complete: it goes into the manifest, and the same network can be built from
it again (`mvkit verify --against-source`). Reading this file imports no torch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters import provenance
from converters.artifact import load_artifact
from converters.convert import Origin
from converters.errors import UsageError
from converters.manifest import WeightsRecord
from converters.preprocessing import Preprocessing

from .factory import UserModule, is_factory, load_user_module
from .images import class_names, sample_photos
from .models.registry import create_model, least_size, model_card

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray
    from torch import Tensor, nn

_MOST_ELEMENTS = 2**28  # of one input: 1 GiB as fp32
DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")


@dataclass(frozen=True)
class InputText:
    """One `--input [name=]1x3x192x320[:dtype]`, taken apart."""

    name: str | None
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class SourceRequest:
    """A reference model with its options, or a user's module with its inputs.

    `weights` is "loud", "timm", a file, or None for the default: loud for a reference model, its
    own for a user's module.
    """

    model: str
    weights: str | None = None
    seed: int = 0
    num_classes: int = 1000
    in_channels: int = 3
    input_size: tuple[int, int] | None = None  # None: the model's own
    batch: int = 1
    inputs: tuple[InputText, ...] = ()  # of a user's module
    preprocessing: Preprocessing | None = None  # None: the model's own; a user's module has none

    @property
    def is_factory(self) -> bool:
        return is_factory(self.model)

    @property
    def name(self) -> str:
        """What the converted file is called, before the precision."""
        if not self.is_factory:
            return self.model
        place, _, attribute = self.model.rpartition(":")
        return f"{Path(place).stem}-{attribute}" if place.endswith(".py") else attribute

    def to_options(self) -> dict[str, Any]:
        """For the manifest: plain values, from which `from_options` makes the request again."""
        document = asdict(self)
        document["inputs"] = tuple(_write_input(one) for one in self.inputs)
        document["preprocessing"] = None  # the manifest's inputs hold it
        return document

    @staticmethod
    def from_options(
        options: Mapping[str, Any], preprocessing: Preprocessing | None
    ) -> SourceRequest:
        inputs = tuple(parse_input(text) for text in options["inputs"])
        return SourceRequest(**{**options, "inputs": inputs, "preprocessing": preprocessing})


@dataclass(frozen=True)
class Source:
    """A built network with all that its conversion needs to know."""

    module: nn.Module
    examples: tuple[Tensor, ...] | dict[str, Tensor]
    input_names: tuple[str, ...] | None
    output_names: tuple[str, ...] | None
    preprocessing: Preprocessing | None
    photos: dict[str, NDArray[uint8]]
    labels: tuple[str, ...] | None
    origin: Origin


def parse_input(text: str) -> InputText:
    """Reads `[name=]1x3x192x320[:dtype]`; raises UsageError that quotes it."""
    rest, _, dtype = text.partition(":")
    name, _, shape = rest.rpartition("=")
    dtype = dtype or "float32"
    if dtype not in DTYPES:
        raise UsageError(f"--input {text}: unknown type '{dtype}'", f"one of {', '.join(DTYPES)}")
    if name and not name.isidentifier():
        raise UsageError(f"--input {text}: '{name}' is not a name")
    sides = shape.split("x")
    if not all(side.isascii() and side.isdecimal() and int(side) > 0 for side in sides):
        raise UsageError(f"--input {text}: a shape is whole numbers above 0, as in 1x3x224x224")
    return InputText(name or None, tuple(map(int, sides)), dtype)


def _write_input(one: InputText) -> str:
    name = f"{one.name}=" if one.name else ""
    return f"{name}{'x'.join(map(str, one.shape))}:{one.dtype}"


def check_request(request: SourceRequest) -> None:
    """Raises UsageError for what can be refused before any memory is touched."""
    if request.is_factory:
        changed = [
            option
            for option, default in (("num_classes", 1000), ("in_channels", 3), ("batch", 1))
            if getattr(request, option) != default
        ]
        if request.input_size is not None:
            changed.append("input_size")
        if changed:
            option = "--" + changed[0].replace("_", "-")
            raise UsageError(
                f"{option} is for reference models; {request.model} says its own", "use --input"
            )
        for one in request.inputs:
            if math.prod(one.shape) > _MOST_ELEMENTS:
                raise UsageError(f"--input {_write_input(one)} is too large to convert")
        return
    card = model_card(request.model)
    if request.inputs:
        raise UsageError(
            f"--input is for your own networks; {card.name} takes one image", "use --input-size"
        )
    for option, low in (("num_classes", 0), ("in_channels", 1), ("batch", 1)):
        value = getattr(request, option)
        if value < low:
            raise UsageError(f"--{option.replace('_', '-')} must be {low} or more, not {value}")
    height, width = request.input_size or card.input_size
    least = least_size(card.name)
    if min(height, width) < least:
        raise UsageError(
            f"input size {height}x{width} is too small: {card.name} needs at least {least}x{least}"
        )
    if height * width * request.in_channels * request.batch > _MOST_ELEMENTS:
        raise UsageError(f"input size {height}x{width} (batch {request.batch}) is too large")


def preprocessing_of(request: SourceRequest) -> Preprocessing | None:
    """How photos become the input: the user's recipe, or that of the model's checkpoint.

    None for a user's module without one, and for channel counts that no photo has.
    """
    if request.preprocessing is not None or request.is_factory:
        return request.preprocessing
    card = model_card(request.model)
    recipe = replace(card.preprocessing, size=request.input_size or card.input_size)
    if request.in_channels == 3:
        return recipe
    if request.in_channels == 1:
        mean, std = sum(recipe.mean) / 3, sum(recipe.std) / 3
        return replace(recipe, channel_order="grey", mean=(mean,), std=(std,))
    return None


def identity(request: SourceRequest) -> dict[str, Any]:
    """All that determines a reference model's network, without building it or importing torch."""
    weights = request.weights or "loud"
    if weights == "timm":
        weights = model_card(request.model).hub
    elif weights != "loud":
        from .models.weight_files import check_weight_file, file_sha256

        check_weight_file(Path(weights))
        weights = file_sha256(Path(weights))
    return {
        **asdict(replace(request, preprocessing=preprocessing_of(request))),
        "weights": weights,
        "models": provenance.code_digest(Path(__file__).parent),
    }


@functools.cache
def _user_module(name: str, seed: int) -> UserModule:
    return load_user_module(name, seed)


def user_identity(request: SourceRequest) -> dict[str, Any]:
    """The same for a user's module, which has to be imported for that."""
    weights = request.weights
    if weights not in (None, "loud"):
        from .models.weight_files import file_sha256

        weights = file_sha256(Path(str(weights)))
    return {
        **asdict(request),
        "weights": weights,
        "code": _user_module(request.model, request.seed).code_digest,
    }


def build_source(request: SourceRequest) -> Source:
    """Builds the network and loads its weights. Raises UsageError for what does not fit."""
    check_request(request)
    return _build_user(request) if request.is_factory else _build_reference(request)


def _build_reference(request: SourceRequest) -> Source:
    import torch

    from .models import checkpoints

    card = model_card(request.model)
    model = create_model(
        card.name, num_classes=request.num_classes, in_channels=request.in_channels
    )
    record = checkpoints.load_weights(
        model, request.weights or "loud", card=card, seed=request.seed
    )
    height, width = request.input_size or card.input_size
    preprocessing = preprocessing_of(request)
    return Source(
        module=model,
        examples=(torch.zeros(request.batch, request.in_channels, height, width),),
        input_names=("image",),
        output_names=("logits",) if request.num_classes else ("features",),
        preprocessing=preprocessing,
        photos=sample_photos(preprocessing) if preprocessing else {},
        labels=class_names() if request.num_classes == len(class_names()) else None,
        origin=Origin("model", card.name, record, request.to_options()),
    )


def _build_user(request: SourceRequest) -> Source:
    import torch

    from .models import checkpoints

    if not request.inputs:
        raise UsageError(
            f"{request.model} needs to know its inputs",
            "give --input 1x3x224x224, once for each input",
        )
    names = [one.name for one in request.inputs]
    if any(names) and not all(names):
        raise UsageError("give every --input a name, or none")
    module = _user_module(request.model, request.seed).module
    tensors = [torch.zeros(one.shape, dtype=getattr(torch, one.dtype)) for one in request.inputs]
    keywords = _keywords(module)
    examples: tuple[Tensor, ...] | dict[str, Tensor] = tuple(tensors)
    if all(name in keywords for name in names):
        examples = {str(name): tensor for name, tensor in zip(names, tensors, strict=True)}
    if request.weights is None:
        record = WeightsRecord("module", provenance.state_digest(module))
    else:
        record = checkpoints.load_weights(module, request.weights, card=None, seed=request.seed)
    return Source(
        module=module,
        examples=examples,
        input_names=tuple(map(str, names)) if all(names) else None,
        output_names=None,
        preprocessing=request.preprocessing,
        photos=sample_photos(request.preprocessing) if request.preprocessing else {},
        labels=None,
        origin=Origin("factory", request.model, record, request.to_options()),
    )


def _keywords(module: nn.Module) -> set[str]:
    import inspect

    return set(inspect.signature(module.forward).parameters)


def rebuild_source(file: Path, weights: str | None = None) -> Source:
    """The PyTorch source of an artifact, from its manifest; `weights` where the file has moved.

    Raises UsageError when the source is not one that can be built again, or when the weights are
    no longer those that were converted.
    """
    manifest = load_artifact(file).manifest
    record = manifest.source
    if record.kind == "module":
        raise UsageError(f"{file} was made from a module in memory, which cannot be built again")
    recipe = next((one.preprocessing for one in manifest.inputs if one.preprocessing), None)
    request = SourceRequest.from_options(record.options, recipe)
    if weights is not None:
        request = replace(request, weights=weights)
    source = build_source(request)
    if record.weights.kind in ("file", "hub") and (
        source.origin.weights.sha256 != record.weights.sha256
    ):
        raise UsageError(
            f"{request.weights} is not the weights file that {file.name} was made from (SHA-256)"
        )
    return source
