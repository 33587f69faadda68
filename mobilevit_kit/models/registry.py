"""The table of the reference models and the way to build one.

The published facts are data (`assets/models.json`), and so are those of the trained weights that
come with the kit (`assets/trained.json`), which go by names such as `mobilevit_xxs@digits`. A
family's code and its configurations are in the module named after it, which is imported only when
a network is built.
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
import importlib
import importlib.resources
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from converters.errors import MissingExtraError, UsageError
from converters.preprocessing import Preprocessing

if TYPE_CHECKING:
    from .layers import Backbone


@dataclass(frozen=True)
class _Family:
    """The class in `mobilevit_kit.models.<family>`, and the least side of an image in pixels."""

    network: str
    least_side: int


_FAMILIES = {
    "mobilevit": _Family("MobileVit", 32),
    "efficientvit": _Family("EfficientVit", 64),
    "edgenext": _Family("EdgeNext", 32),
    "mobilenetv4": _Family("MobileNetV4", 32),
}


@dataclass(frozen=True)
class Published:
    """Figures with 1000 classes at the model's input size; sources in `assets/models.json`."""

    parameters: int
    macs_millions: int  # of one image
    top1_official: float  # per cent on ImageNet-1k
    top1_paper: float | None  # where it differs from the repository's figure
    top1_timm: float  # of the checkpoint `hub`
    hub: str  # id of the timm checkpoint
    weights_licence: str


@dataclass(frozen=True)
class TrainedWeights:
    """Weights that come with the kit; see `assets/checkpoints/MODEL_CARD.md`."""

    file: str  # below assets/
    sha256: str
    accuracy: float  # share of right answers on held-out data
    photos: str  # folder below assets/ with examples
    labels: tuple[str, ...]


@dataclass(frozen=True)
class ModelCard:
    """What is known about one model before it is built."""

    name: str
    family: str
    config: str  # key of the family's VARIANTS, or of TOYS
    title: str  # of the paper
    paper: str
    repository: str
    input_size: tuple[int, int]  # height, width
    num_classes: int
    preprocessing: Preprocessing  # of the checkpoint
    published: Published | None = None  # None for trained weights
    trained: TrainedWeights | None = None


@functools.cache
def _table(file: str) -> dict[str, Any]:
    source = importlib.resources.files("mobilevit_kit") / "assets" / file
    table: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return table


def _recipe(row: dict[str, Any]) -> Preprocessing:
    recipe = row["preprocessing"]
    return Preprocessing(
        tuple(row["input_size"]),
        crop=recipe["crop"],
        interpolation=recipe["interpolation"],
        mean=tuple(recipe["mean"]),
        std=tuple(recipe["std"]),
    )


def _paper(family: str) -> dict[str, Any]:
    row = _table("models.json")["families"][family]
    return {key: row[key] for key in ("title", "paper", "repository")}


@functools.cache
def model_cards() -> dict[str, ModelCard]:
    """The reference models by name, in the order of the table."""
    table = _table("models.json")
    cards = {}
    for name, row in table["models"].items():
        family = row["family"]
        published = Published(
            parameters=row["parameters"],
            macs_millions=row["macs_millions"],
            top1_official=row["top1"]["official"],
            top1_paper=row["top1"]["paper"],
            top1_timm=row["top1"]["timm_checkpoint"],
            hub=row["hub"],
            weights_licence=table["families"][family]["weights_licence"],
        )
        cards[name] = ModelCard(
            name=name,
            family=family,
            config=name,
            input_size=tuple(row["input_size"]),
            num_classes=1000,
            preprocessing=_recipe(row),
            published=published,
            **_paper(family),
        )
    return cards


@functools.cache
def trained_cards() -> dict[str, ModelCard]:
    """The trained weights that come with the kit, by names such as `mobilevit_xxs@digits`."""
    cards = {}
    for name, row in _table("trained.json").items():
        family = row["model"].partition("_")[0]
        trained = TrainedWeights(
            file=row["file"],
            sha256=row["sha256"],
            accuracy=row["accuracy"],
            photos=row["photos"],
            labels=tuple(row["labels"]),
        )
        cards[name] = ModelCard(
            name=name,
            family=family,
            config=row["model"],
            input_size=tuple(row["input_size"]),
            num_classes=row["num_classes"],
            preprocessing=_recipe(row),
            trained=trained,
            **_paper(family),
        )
    return cards


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern, such as `mobilevit_*`.

    Trained weights are listed where the pattern has an `@`, as in `*@digits`.
    """
    cards = trained_cards() if "@" in pattern else model_cards()
    return [name for name in cards if fnmatch.fnmatchcase(name, pattern)]


def model_card(name: str) -> ModelCard:
    """The facts about one model; raises UsageError with a suggestion for an unknown name."""
    cards = model_cards() | trained_cards()
    if name not in cards:
        close = difflib.get_close_matches(name, cards, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else "`mvkit models` lists them"
        raise UsageError(f"unknown model '{name}'", hint)
    return cards[name]


def least_size(name: str) -> int:
    """The least height and width that leaves the deepest map a pixel."""
    return _FAMILIES[model_card(name).family].least_side


def model_config(name: str) -> Any:
    """The frozen dataclass that determines the network of this name."""
    card = model_card(name)
    variants = _family(card).VARIANTS
    if card.config in variants:
        return variants[card.config]
    from .toys import TOYS

    return TOYS[card.config]


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
    weights: str | None = None,
    seed: int = 0,
    drop: float = 0.0,
    drop_path: float = 0.0,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
) -> Backbone:
    """Builds a reference model in training mode, for images (B, in_channels, H, W).

    `weights` is None for a fresh initialisation from `seed`, "loud" for the seeded weights that
    parity checks use, "timm" for the published checkpoint, or the path of a .safetensors, .pt or
    .pth file; a name such as `mobilevit_xxs@digits` brings trained ones of its own. `num_classes`
    is 1000, or that of the trained weights; 0 drops the classifier. With `features_only` the
    result gives the maps that `out_indices` chose, and its `feature_channels` and
    `feature_strides` describe them.

    Raises UsageError for an unknown name or an option out of range, and for weights that do not
    fit; MissingExtraError without torch.
    """
    card = model_card(name)
    model = build_network(
        card,
        num_classes=card.num_classes if num_classes is None else num_classes,
        in_channels=in_channels,
        seed=seed,
        drop=drop,
        drop_path=drop_path,
        features_only=features_only,
        out_indices=out_indices,
    )
    if weights is not None or card.trained is not None:
        from . import checkpoints

        checkpoints.load_weights(model, weights, card=card, seed=seed)
    return model


def build_network(
    card: ModelCard, *, num_classes: int, in_channels: int = 3, seed: int = 0, **options: Any
) -> Backbone:
    """The network of a card with fresh weights; `options` are those of the family's class."""
    if num_classes < 0:
        raise UsageError(f"the number of classes must be 0 or more, not {num_classes}")
    if in_channels < 1:
        raise UsageError(f"the number of input channels must be 1 or more, not {in_channels}")
    network = getattr(_family(card), _FAMILIES[card.family].network)

    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Backbone = network(
            model_config(card.name), num_classes=num_classes, in_channels=in_channels, **options
        )
    return model


def _family(card: ModelCard) -> Any:
    try:
        return importlib.import_module(f"mobilevit_kit.models.{card.family}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("torch", "models") from None
