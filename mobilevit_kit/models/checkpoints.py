"""Weights into networks: the seeded "loud" ones, the published ones, and a user's own file.

Entries must fit strictly; what does not is refused with a list, before the network is touched.
Tolerated are: `num_batches_tracked` counters that are absent (checkpoints older than PyTorch 0.4.1
have none, and inference does not read them); another floating-point type, which is cast; a
`module.`, `_orig_mod.` or `model.` before every name (DataParallel, torch.compile, Lightning); and
the head's entries where a reference model was built without a classifier.
"""

from __future__ import annotations

import importlib
import importlib.resources
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from converters.errors import UsageError
from converters.loud import loud_weights_
from converters.manifest import WeightsRecord
from converters.provenance import state_digest

from ..images import sample_photos
from . import hub
from .weight_files import SUFFIXES, file_sha256, read_state_dict

if TYPE_CHECKING:
    from .registry import ModelCard, TrainedWeights

# Names that only one family has, in timm's naming and the authors', and what to call them.
_TELLTALES = (
    ("mobilevit", r"\.transformer\.\d+\.attn\.qkv\.|\.pre_norm_mha\.", "MobileViT weights"),
    ("mobilevitv2", r"\.attn\.qkv_proj\.|\.pre_norm_attn\.", "MobileViTv2 weights"),
    (
        "transformers",
        r"^(mobilevit\.)?encoder\.layer\.\d+\.transformer\.",
        "MobileViT weights in the transformers library's naming",
    ),
    ("efficientvit", r"\.mixer\.m\.attn\.qkvs\.", "EfficientViT weights"),
    ("edgenext", r"\.xca\.temperature$", "EdgeNeXt weights"),
    ("mobilenetv4", r"^blocks\.\d+\.\d+\.(dw_start|dw_mid|pw_exp)\.", "MobileNetV4 weights"),
)

# Family -> the module with `is_official` and `from_official`, and what the record calls the
# authors' naming.
_OFFICIAL = {
    "mobilevit": ("mobilevit_cvnets", "cvnets"),
    "efficientvit": ("efficientvit", "Cream"),
    "edgenext": ("edgenext", "EdgeNeXt"),
}

_PREFIXES = ("module.", "_orig_mod.", "model.")
_CLASSIFIERS = ("head.fc.", "head.linear.", "classifier.")
_HEADS = ("head.", "classifier.", "conv_head.", "norm_head.")
_LISTED = 10


def load_weights(
    model: nn.Module, weights: str | Path | None, *, card: ModelCard | None, seed: int = 0
) -> WeightsRecord:
    """Overwrites the weights of `model` in place.

    `weights` is "loud" for seeded random weights, "timm" for the published checkpoint of a
    reference model, the path of a .safetensors, .pt or .pth file, or None for those that a `card`
    of trained weights brings. `card` is the reference model's, and None for any other network,
    whose file must then have the network's own names.

    Raises UsageError for weights that are missing, damaged or do not fit; `model` is then as it
    was.
    """
    if card is not None and card.trained is not None:
        return _load_packaged(model, weights, card, card.trained)
    assert weights is not None
    if weights == "loud":
        example = () if card is None else (_photos(model, card),)
        loud_weights_(model, seed, example)
        return WeightsRecord("loud", state_digest(model), seed=seed)
    if weights == "timm":
        if card is None or card.published is None:
            raise UsageError(
                f"weights 'timm' are published for the kit's own models, not for {_name(model)}",
                f"pass a {', '.join(SUFFIXES)} file, or 'loud'",
            )
        path, sha256 = hub.fetch(card.published.hub)
        mapped = _load_file(model, path, card, f"{card.published.hub}/{hub.FILE}")
        return WeightsRecord("hub", sha256, card.published.hub, mapped_from=mapped)
    path = Path(weights).expanduser()
    mapped = _load_file(model, path, card, str(path))
    return WeightsRecord("file", file_sha256(path), path.name, mapped_from=mapped)


def _load_packaged(
    model: nn.Module, weights: str | Path | None, card: ModelCard, trained: TrainedWeights
) -> WeightsRecord:
    """The weights that a name such as `mobilevit_xxs@digits` stands for."""
    if weights is not None:
        plain = card.name.partition("@")[0]
        raise UsageError(f"{card.name} has weights of its own; for others convert {plain}")
    asset = importlib.resources.files("mobilevit_kit") / "assets" / trained.file
    with importlib.resources.as_file(asset) as path:
        if file_sha256(path) != trained.sha256:
            raise UsageError(f"{path} was altered (SHA-256)", "install mobilevit-kit again")
        _load_file(model, path, card, str(path))
        return WeightsRecord("file", trained.sha256, path.name)


def _photos(model: nn.Module, card: ModelCard) -> Tensor:
    """The kit's photos as a reference model takes them, (4, channels, H, W).

    Noise would not do in their place: deep statistics are those of objects, and a network matched
    to noise turns photos, and the rounding in them, into something far too large.
    """
    pixels = np.stack(list(sample_photos(card.preprocessing).values()))
    photos = torch.from_numpy(card.preprocessing.normalise(pixels))
    channels = next(model.parameters()).shape[1]  # of the stem's convolution
    return photos[:, [i % 3 for i in range(channels)]]


def _load_file(model: nn.Module, path: Path, card: ModelCard | None, shown: str) -> str | None:
    """Returns the naming that the file was mapped from, or None for the network's own."""
    found = read_state_dict(path)
    own = _own(model)
    found = _without_prefix(found, own)
    name = card.name if card else _name(model)
    mapped = None
    if card is not None:
        found, mapped = _in_our_naming(found, card, shown)
        found = _without_surplus_head(found, own)
    problems, hint = _misfits(found, own, card)
    if problems:
        raise UsageError(f"{shown} does not fit {name}: {'; '.join(problems)}", hint)
    state = own | {key: tensor.to(own[key].dtype) for key, tensor in found.items()}
    broken = [key for key in found if not bool(state[key].isfinite().all())]
    if broken:
        raise UsageError(f"{shown} holds NaN or infinite values in {_listed(broken)}")
    # By way of load_state_dict, because networks hook it to refresh what they derive.
    model.load_state_dict(state)
    return mapped


def _own(model: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor)}


def _name(model: nn.Module) -> str:
    return type(model).__name__


def _without_prefix(found: dict[str, Tensor], own: Mapping[str, Any]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        surplus = all(k.startswith(prefix) for k in found)
        if surplus and not any(k.startswith(prefix) for k in own):
            found = {k.removeprefix(prefix): v for k, v in found.items()}
    return found


def _in_our_naming(
    found: dict[str, Tensor], card: ModelCard, shown: str
) -> tuple[dict[str, Tensor], str | None]:
    """Refuses another family's weights and maps the authors' names to the kit's."""
    for family, pattern, title in _TELLTALES:
        if family != card.family and any(re.search(pattern, k) for k in found):
            raise UsageError(f"{shown} does not fit {card.name}: these look like {title}")
    if card.family in _OFFICIAL:
        module_name, naming = _OFFICIAL[card.family]
        module = importlib.import_module(f"{__package__}.{module_name}")
        if module.is_official(found):
            return module.from_official(found), naming
    return found, None


def _without_surplus_head(found: dict[str, Tensor], own: Mapping[str, Any]) -> dict[str, Tensor]:
    """Leaves out the head where the network was built without a classifier, which was a wish."""
    if any(k.startswith(_CLASSIFIERS) for k in own):
        return found
    return {k: v for k, v in found.items() if k in own or not k.startswith(_HEADS)}


def _misfits(
    found: Mapping[str, Tensor], own: Mapping[str, Tensor], card: ModelCard | None
) -> tuple[list[str], str | None]:
    """What keeps the entries from being loaded, and what to do about it where that is known."""
    missing = [k for k in own if k not in found and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in found if k not in own]
    wrong = [k for k in found if k in own and _misfit(found[k], own[k])]
    problems = []
    if missing:
        problems.append(f"{_entries(missing)} missing ({_listed(missing)})")
    if unexpected:
        problems.append(f"{_entries(unexpected)} unexpected ({_listed(unexpected)})")
    if wrong:
        details = [f"{k} {_misfit(found[k], own[k])}" for k in wrong]
        problems.append(f"{_entries(wrong)} of another shape or type ({_listed(details)})")
    hint = None
    if card is not None and wrong and not missing and not unexpected:
        hint = _option_hint(wrong, found, own)
    return problems, hint


def _misfit(entry: Tensor, own: Tensor) -> str | None:
    if entry.shape != own.shape:
        return f"is {_shape(entry)}, not {_shape(own)}"
    if own.is_floating_point() and not entry.is_floating_point():
        return f"is {str(entry.dtype).removeprefix('torch.')}, not floating-point"
    if entry.layout != torch.strided or entry.is_meta:
        return "is not a dense tensor"
    return None


def _option_hint(
    wrong: Sequence[str], found: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> str | None:
    """The option that builds the network as the weights need it."""
    if all(k.startswith(_CLASSIFIERS) and found[k].shape[1:] == own[k].shape[1:] for k in wrong):
        classes = found[wrong[0]].shape[0]
        return f"these weights are for {classes} classes: pass --num-classes {classes}"
    if list(wrong) == [next(iter(own))] and found[wrong[0]].ndim == own[wrong[0]].ndim == 4:
        (out, channels), expected = found[wrong[0]].shape[:2], own[wrong[0]].shape[0]
        if out == expected:
            return f"these weights are for {channels} input channels: pass --in-channels {channels}"
    return None


def _entries(names: Sequence[str]) -> str:
    return "1 entry" if len(names) == 1 else f"{len(names)} entries"


def _listed(items: Iterable[str]) -> str:
    items = list(items)
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return ", ".join(items[:_LISTED]) + more


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
