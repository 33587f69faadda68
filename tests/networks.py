"""Small networks that the tests convert, each with loud weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from converters.loud import loud_weights_
from converters.preprocessing import Preprocessing
from mobilevit_kit.images import sample_photos
from mobilevit_kit.models.edgenext import EdgeNext, EdgeNextConfig
from mobilevit_kit.models.efficientvit import EfficientVit, EfficientVitConfig
from mobilevit_kit.models.mobilenetv4 import Conv, Fused, MobileNetV4, MobileNetV4Config, Mqa, Uib
from mobilevit_kit.models.mobilevit import MobileVit, MobileVitConfig

TINY_MOBILEVIT = MobileVitConfig(
    widths=(8, 8, 12, 16, 16), dims=(16, 16, 16), final_width=32, expansion=2, depths=(1, 1, 1),
    mv2_repeats=2, stem_width=8,
)  # fmt: skip

TINY_MOBILENETV4 = MobileNetV4Config(
    stem_width=8, layer_scale=1e-5, head_width=32,
    stages=(
        (Fused(12, expansion=2),),
        (Uib(16, 3, 5, 2, stride=2), Uib(16, 3, 3, 2)),
        (Uib(24, 3, 5, 2, stride=2), Mqa(2, 8, kv_stride=2), Uib(24, 0, 0, 2)),
        (Uib(32, 5, 0, 2, stride=2), Mqa(2, 8), Uib(32, 3, 0, 2)),
        (Conv(48),),
    ),
)  # fmt: skip
TINY_EFFICIENTVIT = EfficientVitConfig(
    widths=(16, 24, 32), depths=(1, 1, 1), heads=(2, 2, 2), kernels=(5, 3), key_dim=4, window=4,
    image_size=128,
)  # fmt: skip
TINY_EDGENEXT = EdgeNextConfig((8, 12, 18, 32), (1, 2, 2, 1), heads=2, expansion=2)
FAMILIES = ("mobilevit", "mobilenetv4", "efficientvit", "edgenext")


@dataclass(frozen=True)
class Case:
    module: nn.Module
    example_inputs: Any
    options: dict[str, Any] = field(default_factory=dict)


class Classifier(nn.Module):
    """The least that a photo can go through: (B, 3, H, W) -> (B, 7)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 7)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(torch.relu(self.norm(self.conv(image))).mean((2, 3)))


class Mixed(nn.Module):
    """Several inputs, one of whole numbers; a dictionary with nested results."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.table = nn.Embedding(11, 4)

    def forward(self, image: Tensor, ids: Tensor) -> dict[str, Any]:
        pooled = self.conv(image).mean((2, 3))
        words = self.table(ids).mean(1)
        return {"pooled": pooled, "both": (pooled + words, words.argmax(-1))}


def tiny_mobilevit(seed: int = 0) -> MobileVit:
    """A MobileViT of three transformer layers, with loud weights matched to photos."""
    model = MobileVit(TINY_MOBILEVIT, num_classes=10)
    g = torch.Generator().manual_seed(seed)
    loud_weights_(model, seed, (torch.rand(1, 3, 128, 128, generator=g),))
    return model


def tiny_family(name: str) -> nn.Module:
    """The least of a family's networks for images (B, 3, 128, 128), with loud weights."""
    if name == "mobilevit":
        return tiny_mobilevit()
    model = {
        "mobilenetv4": lambda: MobileNetV4(TINY_MOBILENETV4, num_classes=10),
        "efficientvit": lambda: EfficientVit(TINY_EFFICIENTVIT, num_classes=10),
        "edgenext": lambda: EdgeNext(TINY_EDGENEXT, num_classes=10),
    }[name]()
    g = torch.Generator().manual_seed(0)
    return loud_weights_(model, 0, (torch.rand(1, 3, 128, 128, generator=g),))


def _photo_options(size: tuple[int, int], **options: Any) -> dict[str, Any]:
    recipe = Preprocessing(size, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), channel_order="bgr")
    return {"preprocessing": recipe, "photos": sample_photos(recipe), **options}


def make_case(name: str) -> Case:
    """The network of a name, with what `converters.convert` needs to know about it."""
    image = torch.zeros(1, 3, 32, 48)
    if name == "classifier":
        return Case(loud_weights_(Classifier()), image, _photo_options((32, 48)))
    if name == "classifier-nhwc":
        return Case(loud_weights_(Classifier()), image, _photo_options((32, 48), layout="nhwc"))
    if name.startswith("classifier-uint8"):
        layout = name.removeprefix("classifier-uint8-")
        options = _photo_options((32, 48), layout=layout, embed_preprocessing=True)
        return Case(loud_weights_(Classifier()), image.repeat(2, 1, 1, 1), options)
    if name == "mixed":
        g = torch.Generator().manual_seed(3)
        ids = torch.randint(0, 11, (1, 5), generator=g)
        return Case(loud_weights_(Mixed()), (torch.randn(1, 2, 9, 7, generator=g), ids))
    if name in FAMILIES:
        recipe = Preprocessing((128, 128))
        options = {
            "preprocessing": recipe,
            "photos": sample_photos(recipe),
            "input_names": ["image"],
            "output_names": ["logits"],
            "labels": [f"digit {i}" for i in range(10)],
        }
        return Case(tiny_family(name), torch.zeros(1, 3, 128, 128), options)
    raise KeyError(name)
