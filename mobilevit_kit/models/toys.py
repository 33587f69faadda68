"""Configurations that come from no paper: small enough to ship with trained weights.

They exist for these weights alone (`assets/checkpoints/MODEL_CARD.md`); between them they have
every kind of block of their families.
"""

from __future__ import annotations

from .efficientvit import EfficientVitConfig
from .mobilenetv4 import Conv, Fused, MobileNetV4Config, Mqa, Uib

TOYS: dict[str, EfficientVitConfig | MobileNetV4Config] = {
    # At the 64x64 pixels of its weights the 2x2 windows tile the first stage's map, are the whole
    # of the second's, and are padded in the third: fitted to 64 they would be of one pixel there,
    # with nothing to attend to.
    "efficientvit_tiny": EfficientVitConfig(
        (32, 48, 80), (1, 1, 2), (2, 4, 4), (5, 5, 3, 3), key_dim=8, window=2, image_size=128
    ),
    "mobilenetv4_tiny": MobileNetV4Config(
        stem_width=16,
        layer_scale=1e-5,
        stages=(
            (Fused(24),),
            (Uib(40, 3, 5, 4, stride=2), Uib(40, 3, 3, 2)),
            (Uib(48, 3, 5, 4, stride=2), Mqa(4, 16, kv_stride=2), Uib(48, 3, 0, 4)),
            (Uib(64, 5, 5, 4, stride=2), Uib(64, 0, 0, 2), Mqa(4, 16), Uib(64, 5, 0, 4)),
            (Conv(192),),
        ),
        head_width=320,
    ),
}
