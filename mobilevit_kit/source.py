"""What a user asks to have converted, as data, and the network that comes of it.

A `SourceRequest` is complete: it goes into the manifest, and the same network can be built from
it again (`mvkit verify --against-source`). Reading this file imports no torch.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters import provenance
from converters.artifact import load_artifact
from converters.conversion import Origin
from converters.errors import MissingExtraError, UsageError
from converters.manifest import WeightsRecord
from converters.preprocessing import Preprocessing

from .factory import UserModule, is_factory, load_user_module
from .images import SAMPLE_PHOTOS, class_names, sample_photos
from .models.registry import ModelCard, build_network, least_size, model_card

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray
    from torch import Tensor, nn

_MOST_ELEMENTS = 2**28  # of one input: 1 GiB as fp32
_MOST_PIXELS = 2048 * 2048  # of a reference model's image; attention grows with their square
_MOST_DIGITS = 9  # of a side; Python itself refuses to read numbers of some thousand
_MOST_CLASSES = 100_000  # the largest classifiers published have a third of that
_SEEDS = 2**32
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
    num_classes: int | None = None  # None: the model's own
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
    photo_folder: str  # of the kit's assets
    labels: tuple[str, ...] | None
    origin: Origin

    def photos_at(self, sizes: Sequence[tuple[int, int]]) -> dict[str, NDArray[uint8]]:
        """The same photos for other (height, width) of the network's input, by name and size."""
        if self.preprocessing is None or not self.photos:
            return {}
        recipes = [replace(self.preprocessing, size=size) for size in sizes]
        return {
            f"{name} {recipe.size[0]}x{recipe.size[1]}": photo
            for recipe in recipes
            for name, photo in sample_photos(recipe, self.photo_folder).items()
        }


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
    if not all(side.isascii() and side.isdecimal() and side.strip("0") for side in sides):
        raise UsageError(f"--input {text}: a shape is whole numbers above 0, as in 1x3x224x224")
    if any(len(side) > _MOST_DIGITS for side in sides):
        raise UsageError(f"--input {text[:80]} is too large to convert")
    return InputText(name or None, tuple(map(int, sides)), dtype)


def _write_input(one: InputText) -> str:
    name = f"{one.name}=" if one.name else ""
    return f"{name}{'x'.join(map(str, one.shape))}:{one.dtype}"


def check_request(request: SourceRequest) -> None:
    """Raises UsageError for what can be refused before any memory is touched."""
    if not 0 <= request.seed < _SEEDS:
        raise UsageError(f"--seed must be from 0 to {_SEEDS - 1}, not {request.seed}")
    if request.is_factory:
        _check_user(request)
    else:
        _check_reference(request)


def _check_user(request: SourceRequest) -> None:
    changed = [
        option
        for option, default in (("num_classes", None), ("in_channels", 3), ("batch", 1))
        if getattr(request, option) != default
    ]
    if request.input_size is not None:
        changed.append("input_size")
    if changed:
        option = "--" + changed[0].replace("_", "-")
        raise UsageError(
            f"{option} is for reference models; {request.model} says its own", "use --input"
        )
    if request.weights == "timm":
        raise UsageError(
            f"--weights timm is for reference models; {request.model} is your own",
            "give a file, or loud",
        )
    if not request.inputs:
        raise UsageError(
            f"{request.model} needs to know its inputs",
            "give --input 1x3x224x224, once for each input",
        )
    for one in request.inputs:
        if math.prod(one.shape) > _MOST_ELEMENTS:
            raise UsageError(f"--input {_write_input(one)} is too large to convert")
    names = [one.name for one in request.inputs]
    if any(names) and not all(names):
        raise UsageError("give every --input a name, or none")
    for name in names:
        if name is not None and names.count(name) > 1:
            raise UsageError(f"--input {name} is given twice")


def _check_reference(request: SourceRequest) -> None:
    card = model_card(request.model)
    if request.inputs:
        raise UsageError(
            f"--input is for your own networks; {card.name} takes one image", "use --input-size"
        )
    for option, low in (("num_classes", 0), ("in_channels", 1), ("batch", 1)):
        value = getattr(request, option)
        if value is not None and value < low:
            raise UsageError(f"--{option.replace('_', '-')} must be {low} or more, not {value}")
    if (request.num_classes or 0) > _MOST_CLASSES:
        raise UsageError(f"--num-classes must be {_MOST_CLASSES} or less")
    if card.trained is not None and request.weights is not None:
        plain = card.name.partition("@")[0]
        raise UsageError(f"{card.name} has weights of its own", f"for others convert {plain}")
    height, width = request.input_size or card.input_size
    least = least_size(card.name)
    if min(height, width) < least:
        raise UsageError(
            f"input size {height}x{width} is too small: {card.name} needs at least {least}x{least}"
        )
    if height * width > _MOST_PIXELS:
        most = f"{_MOST_PIXELS / 1e6:.0f} million pixels"
        raise UsageError(f"input size {height}x{width} is too large: more than {most}")
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
    card = model_card(request.model)
    weights = request.weights or (card.trained.sha256 if card.trained else "loud")
    if weights == "timm" and card.published is not None:
        weights = card.published.hub
    elif request.weights not in (None, "loud"):
        from .models.weight_files import check_weight_file, file_sha256

        path = Path(weights).expanduser()
        check_weight_file(path)
        weights = file_sha256(path)
    return {
        **asdict(replace(request, preprocessing=preprocessing_of(request))),
        "weights": weights,
        "models": provenance.code_digest(Path(__file__).parent),
    }


@functools.lru_cache(maxsize=1)
def _user_module(name: str, seed: int) -> UserModule:
    return load_user_module(name, seed)


def user_identity(request: SourceRequest) -> dict[str, Any]:
    """The same for a user's module, which has to be imported and called for that."""
    user = _user_module(request.model, request.seed)
    weights = request.weights or user.state_digest
    if weights not in (user.state_digest, "loud"):
        from .models.weight_files import check_weight_file, file_sha256

        path = Path(weights).expanduser()
        check_weight_file(path)
        weights = file_sha256(path)
    return {**asdict(request), "weights": weights, "code": user.code_digest}


def build_source(request: SourceRequest) -> Source:
    """Builds the network and loads its weights. Raises UsageError for what does not fit."""
    check_request(request)
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("torch", "models") from None
    return _build_user(request) if request.is_factory else _build_reference(request)


def _build_reference(request: SourceRequest) -> Source:
    import torch

    from .models import checkpoints

    card = model_card(request.model)
    classes = card.num_classes if request.num_classes is None else request.num_classes
    model = build_network(card, num_classes=classes, in_channels=request.in_channels)
    weights = request.weights or (None if card.trained else "loud")
    record = checkpoints.load_weights(model, weights, card=card, seed=request.seed)
    height, width = request.input_size or card.input_size
    preprocessing = preprocessing_of(request)
    folder = card.trained.photos if card.trained else SAMPLE_PHOTOS
    return Source(
        module=model,
        examples=(torch.zeros(request.batch, request.in_channels, height, width),),
        input_names=("image",),
        output_names=("logits",) if classes else ("features",),
        preprocessing=preprocessing,
        photos=sample_photos(preprocessing, folder) if preprocessing else {},
        photo_folder=folder,
        labels=_labels(card) if classes == card.num_classes else None,
        origin=Origin("model", card.name, record, request.to_options()),
    )


def _labels(card: ModelCard) -> tuple[str, ...]:
    return card.trained.labels if card.trained else class_names()


def _build_user(request: SourceRequest) -> Source:
    import torch

    from .models import checkpoints

    user = _user_module(request.model, request.seed)
    module = user.module
    tensors = [torch.zeros(one.shape, dtype=getattr(torch, one.dtype)) for one in request.inputs]
    names = [one.name for one in request.inputs if one.name is not None]
    examples: tuple[Tensor, ...] | dict[str, Tensor] = tuple(tensors)
    if _are_keywords(names, module, request.model):
        examples = dict(zip(names, tensors, strict=True))
    if request.weights is None:
        record = WeightsRecord("module", user.state_digest)
    else:
        record = checkpoints.load_weights(module, request.weights, card=None, seed=request.seed)
    return Source(
        module=module,
        examples=examples,
        input_names=tuple(names) or None,
        output_names=None,
        preprocessing=request.preprocessing,
        photos=sample_photos(request.preprocessing) if request.preprocessing else {},
        photo_folder=SAMPLE_PHOTOS,
        labels=None,
        origin=Origin("factory", request.model, record, request.to_options()),
    )


def _are_keywords(names: Sequence[str], module: nn.Module, model: str) -> bool:
    """Whether these are arguments of forward(); where none is, they only name the file's inputs.

    Raises UsageError where some are and some are not: the order would then be a guess.
    """
    import inspect

    known = list(inspect.signature(module.forward).parameters)
    strange = [name for name in names if name not in known]
    if strange and len(strange) < len(names):
        close = difflib.get_close_matches(strange[0], known, n=1)
        raise UsageError(
            f"forward() of {model} has no argument '{strange[0]}'",
            f"did you mean {close[0]}?" if close else f"it takes {', '.join(known)}",
        )
    return bool(names) and not strange


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
        if record.weights.kind not in ("file", "hub"):
            raise UsageError(f"{file} was made with {record.weights.describe()}, from no file")
        request = replace(request, weights=weights)
    source = build_source(request)
    if record.weights.kind in ("file", "hub") and (
        source.origin.weights.sha256 != record.weights.sha256
    ):
        raise UsageError(
            f"{request.weights} is not the weights file that {file.name} was made from (SHA-256)"
        )
    return source
