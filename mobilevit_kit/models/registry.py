"""The table of the reference models and the way to build one.

The published facts are data (`assets/models.json`); a family's code and its configurations are
in the module named after it, which is imported only when a network is built.
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
class ModelCard:
    """Published facts about one model; the sources are named in `assets/models.json`."""

    name: str
    family: str
    title: str  # of the paper
    paper: str
    repository: str
    weights_licence: str
    hub: str  # id of the timm checkpoint
    input_size: tuple[int, int]  # height, width
    parameters: int  # with 1000 classes
    macs_millions: int  # of one image at input_size
    top1_official: float  # per cent on ImageNet-1k
    top1_paper: float | None  # where it differs from the repository's figure
    top1_timm: float
    preprocessing: Preprocessing  # of the timm checkpoint


@functools.cache
def model_cards() -> dict[str, ModelCard]:
    """Every model that the kit can build, by name, in the order of the table."""
    source = importlib.resources.files("mobilevit_kit") / "assets" / "models.json"
    table = json.loads(source.read_text(encoding="utf-8"))
    cards = {}
    for name, row in table["models"].items():
        if row["family"] not in _FAMILIES:
            continue
        size = tuple(row["input_size"])
        recipe = row["preprocessing"]
        cards[name] = ModelCard(
            name=name,
            hub=row["hub"],
            family=row["family"],
            input_size=size,
            parameters=row["parameters"],
            macs_millions=row["macs_millions"],
            top1_official=row["top1"]["official"],
            top1_paper=row["top1"]["paper"],
            top1_timm=row["top1"]["timm_checkpoint"],
            preprocessing=Preprocessing(
                size,
                crop=recipe["crop"],
                interpolation=recipe["interpolation"],
                mean=tuple(recipe["mean"]),
                std=tuple(recipe["std"]),
            ),
            **table["families"][row["family"]],
        )
    return cards


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern, such as `mobilevit_*`."""
    return [name for name in model_cards() if fnmatch.fnmatchcase(name, pattern)]


def model_card(name: str) -> ModelCard:
    """The facts about one model; raises UsageError with a suggestion for an unknown name."""
    cards = model_cards()
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
    return _family(model_card(name)).VARIANTS[name]


def create_model(
    name: str,
    *,
    num_classes: int = 1000,
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
    .pth file. With `features_only` the result gives the maps that `out_indices` chose, and its
    `feature_channels` and `feature_strides` describe them; `num_classes=0` drops the classifier.

    Raises UsageError for an unknown name or an option out of range, and for weights that do not
    fit; MissingExtraError without torch.
    """
    card = model_card(name)
    if num_classes < 0:
        raise UsageError(f"the number of classes must be 0 or more, not {num_classes}")
    if in_channels < 1:
        raise UsageError(f"the number of input channels must be 1 or more, not {in_channels}")
    family = _family(card)

    import torch

    network = getattr(family, _FAMILIES[card.family].network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Backbone = network(
            family.VARIANTS[name],
            num_classes=num_classes,
            in_channels=in_channels,
            drop=drop,
            drop_path=drop_path,
            features_only=features_only,
            out_indices=out_indices,
        )
    if weights is not None:
        from . import checkpoints

        checkpoints.load_weights(model, weights, card=card, seed=seed)
    return model


def _family(card: ModelCard) -> Any:
    try:
        return importlib.import_module(f"mobilevit_kit.models.{card.family}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("torch", "models") from None
