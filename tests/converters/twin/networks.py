"""A network with one operator of each kind that a fault may sit in, and the families' tiny ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.loud import loud_weights_
from mobilevit_kit.models.edgenext import EdgeNext, EdgeNextConfig
from mobilevit_kit.models.efficientvit import EfficientVit
from mobilevit_kit.models.mobilenetv4 import MobileNetV4
from mobilevit_kit.models.mobilevit import MobileVit
from mobilevit_kit.models.toys import TOYS
from tests.networks import TINY_MOBILEVIT


class Kinds(nn.Module):
    """(1, 3, 16, 16) to logits (1, 5) and pooled features (1, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.norm = nn.LayerNorm(8)
        self.fine_norm = nn.LayerNorm(8, eps=1e-12)
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.head = nn.Linear(8, 5)
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        a = F.leaky_relu(self.stem(image), 0.1)
        b = a - F.gelu(self.depthwise(a))
        b = F.silu(self.pointwise(b))
        b = F.avg_pool2d(b, 3, 1, 1, count_include_pad=False) + F.max_pool2d(b, 3, 1, 1)
        first, second = b.chunk(2, 1)
        b = torch.cat([second, first], 1)
        tokens = b.flatten(2).transpose(1, 2)  # (B, 8, H, W) to (B, HW, 8)
        tokens = tokens + self.attend(self.norm(tokens))
        pooled = self.fine_norm(tokens).mean(1) * self.scale
        return {"logits": self.head(torch.clamp(pooled, -2.5, 2.5)), "pooled": pooled}

    def attend(self, x: Tensor) -> Tensor:
        weights = (self.q(x) @ self.k(x).transpose(1, 2) * 0.37).softmax(-1)
        return weights @ self.v(x)


def kinds() -> Kinds:
    module = Kinds()
    loud_weights_(module)
    return module.eval()


FAMILIES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    # with the side of the image
    "mobilevit": (lambda: MobileVit(TINY_MOBILEVIT, num_classes=10), 64),
    "efficientvit": (lambda: EfficientVit(TOYS["efficientvit_tiny"], num_classes=10), 64),
    "edgenext": (lambda: EdgeNext(EdgeNextConfig((8, 16, 22, 32), (1, 2, 2, 1), heads=2)), 64),
    "mobilenetv4": (lambda: MobileNetV4(TOYS["mobilenetv4_tiny"], num_classes=10), 64),
}


def tiny(family: str) -> tuple[nn.Module, Tensor]:
    """A small network of a family in the form that is converted, with an image for it."""
    make, side = FAMILIES[family]
    module: Any = make()
    loud_weights_(module)
    module = module.eval()
    return getattr(module, "fused", lambda: module)(), torch.zeros(1, 3, side, side)
