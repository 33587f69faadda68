"""MobileNetV4: universal models for the mobile ecosystem (arXiv 2404.10518).

Follows the paper's tables of the five networks and timm, whose weights are the published ones;
the original is tensorflow/models (official/vision/modeling/backbones/mobilenet.py). All are
sequences of four kinds of block: plain convolution, fused inverted bottleneck, universal inverted
bottleneck (UIB) and Mobile MQA.

Deviations: symmetric padding and PyTorch's BN epsilon by default, which is what timm's weights
were trained with; `padding`, `norm_eps` and `norm_momentum` of the configuration give
TensorFlow's. Expanded widths are the exact products, which in these networks needs no rounding.

Parameter names are timm's (`conv_stem`, `bn1`, `blocks.i.j`, `conv_head`, `classifier`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from .layers import Backbone, DropPath, FeatureInfo, drop_path_rates
from .mobile_mqa import MobileMqa, MobileMqaBlock, Padding, conv2d, layer_scale


@dataclass(frozen=True)
class Conv:
    """Convolution, BN, activation."""

    width: int  # output channels
    kernel: int = 1
    stride: int = 1


@dataclass(frozen=True)
class Fused:
    """Fused inverted bottleneck of stride 2: full 3x3 expansion, 1x1 projection."""

    width: int
    expansion: int = 4


@dataclass(frozen=True)
class Uib:
    """Universal inverted bottleneck: its two depthwise kernels, 0 where there is none.

    Both: ExtraDW. `start` alone: ConvNext-like. `mid` alone: inverted bottleneck (MobileNetV2).
    Neither: feed-forward.
    """

    width: int
    start: int  # before the expansion
    mid: int  # between expansion and projection; has the stride, or else `start` has it
    expansion: int
    stride: int = 1


@dataclass(frozen=True)
class Mqa:
    """Mobile MQA; keeps the width."""

    heads: int
    key_dim: int
    kv_stride: int = 1


@dataclass(frozen=True)
class MobileNetV4Config:
    """Everything that determines the network, apart from classes and input channels."""

    stem_width: int
    stages: tuple[tuple[Conv | Fused | Uib | Mqa, ...], ...]  # `blocks` of timm
    act: Literal["relu", "gelu"] = "relu"
    layer_scale: float | None = None  # its initial value, in UIB and Mobile MQA
    head_width: int = 1280
    padding: Padding = "symmetric"  # of every strided convolution; "same" is TensorFlow's
    norm_eps: float = 1e-5  # of the batch norms; TensorFlow: 1e-3
    norm_momentum: float = 0.1  # in PyTorch's sense; TensorFlow: 0.01


# The stages of strides 4 and 8, which a convolutional network and its hybrid have in common.
_MEDIUM_SHALLOW = ((Fused(48),), (Uib(80, 3, 5, 4, stride=2), Uib(80, 3, 3, 2)))
_LARGE_SHALLOW = ((Fused(48),), (Uib(96, 3, 5, 4, stride=2), Uib(96, 3, 3, 4)))

VARIANTS: dict[str, MobileNetV4Config] = {
    "mobilenetv4_conv_small": MobileNetV4Config(
        stem_width=32,
        stages=(
            (Conv(32, 3, stride=2), Conv(32)),
            (Conv(96, 3, stride=2), Conv(64)),
            (Uib(96, 5, 5, 3, stride=2), *4 * (Uib(96, 0, 3, 2),), Uib(96, 3, 0, 4)),
            (
                Uib(128, 3, 3, 6, stride=2),
                Uib(128, 5, 5, 4),
                Uib(128, 0, 5, 4),
                Uib(128, 0, 5, 3),
                *2 * (Uib(128, 0, 3, 4),),
            ),
            (Conv(960),),
        ),
    ),
    "mobilenetv4_conv_medium": MobileNetV4Config(
        stem_width=32,
        stages=(
            *_MEDIUM_SHALLOW,
            (
                Uib(160, 3, 5, 6, stride=2),
                *2 * (Uib(160, 3, 3, 4),),
                Uib(160, 3, 5, 4),
                Uib(160, 3, 3, 4),
                Uib(160, 3, 0, 4),
                Uib(160, 0, 0, 2),
                Uib(160, 3, 0, 4),
            ),
            (
                Uib(256, 5, 5, 6, stride=2),
                Uib(256, 5, 5, 4),
                *2 * (Uib(256, 3, 5, 4),),
                Uib(256, 0, 0, 4),
                Uib(256, 3, 0, 4),
                Uib(256, 3, 5, 2),
                Uib(256, 5, 5, 4),
                *2 * (Uib(256, 0, 0, 4),),
                Uib(256, 5, 0, 2),
            ),
            (Conv(960),),
        ),
    ),
    "mobilenetv4_conv_large": MobileNetV4Config(
        stem_width=24,
        stages=(
            *_LARGE_SHALLOW,
            (
                Uib(192, 3, 5, 4, stride=2),
                *3 * (Uib(192, 3, 3, 4),),
                Uib(192, 3, 5, 4),
                *5 * (Uib(192, 5, 3, 4),),
                Uib(192, 3, 0, 4),
            ),
            (
                Uib(512, 5, 5, 4, stride=2),
                *3 * (Uib(512, 5, 5, 4),),
                Uib(512, 5, 0, 4),
                Uib(512, 5, 3, 4),
                *2 * (Uib(512, 5, 0, 4),),
                Uib(512, 5, 3, 4),
                Uib(512, 5, 5, 4),
                *3 * (Uib(512, 5, 0, 4),),
            ),
            (Conv(960),),
        ),
    ),
    "mobilenetv4_hybrid_medium": MobileNetV4Config(
        stem_width=32,
        layer_scale=1e-5,
        stages=(
            *_MEDIUM_SHALLOW,
            (
                Uib(160, 3, 5, 6, stride=2),
                Uib(160, 0, 0, 2),
                Uib(160, 3, 3, 4),
                Uib(160, 3, 5, 4),
                Mqa(4, 64, kv_stride=2),
                Uib(160, 3, 3, 4),
                Mqa(4, 64, kv_stride=2),
                Uib(160, 3, 0, 4),
                Mqa(4, 64, kv_stride=2),
                Uib(160, 3, 3, 4),
                Mqa(4, 64, kv_stride=2),
                Uib(160, 3, 0, 4),
            ),
            (
                Uib(256, 5, 5, 6, stride=2),
                Uib(256, 5, 5, 4),
                *2 * (Uib(256, 3, 5, 4),),
                Uib(256, 0, 0, 2),
                Uib(256, 3, 5, 2),
                Uib(256, 0, 0, 2),
                Uib(256, 0, 0, 4),
                Mqa(4, 64),
                Uib(256, 3, 0, 4),
                Mqa(4, 64),
                Uib(256, 5, 5, 4),
                *2 * (Mqa(4, 64), Uib(256, 5, 0, 4)),
            ),
            (Conv(960),),
        ),
    ),
    "mobilenetv4_hybrid_large": MobileNetV4Config(
        stem_width=24,
        act="gelu",
        layer_scale=1e-5,
        stages=(
            *_LARGE_SHALLOW,
            (
                Uib(192, 3, 5, 4, stride=2),
                *3 * (Uib(192, 3, 3, 4),),
                Uib(192, 3, 5, 4),
                *2 * (Uib(192, 5, 3, 4),),
                *3 * (Mqa(8, 48, kv_stride=2), Uib(192, 5, 3, 4)),
                Mqa(8, 48, kv_stride=2),
                Uib(192, 3, 0, 4),
            ),
            (
                Uib(512, 5, 5, 4, stride=2),
                *3 * (Uib(512, 5, 5, 4),),
                Uib(512, 5, 0, 4),
                Uib(512, 5, 3, 4),
                *2 * (Uib(512, 5, 0, 4),),
                Uib(512, 5, 3, 4),
                Uib(512, 5, 5, 4),
                *4 * (Mqa(8, 64), Uib(512, 5, 0, 4)),
            ),
            (Conv(960),),
        ),
    ),
}


def batch_norm(config: MobileNetV4Config, channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=config.norm_eps, momentum=config.norm_momentum)


def activation(config: MobileNetV4Config) -> nn.Module:
    # In place: batch norm's backward does not need its output, and ReLU's only needs its own.
    return nn.ReLU(inplace=True) if config.act == "relu" else nn.GELU()


def conv_norm_act(
    config: MobileNetV4Config,
    in_channels: int,
    out_channels: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    act: bool = True,
    norm: str = "bn",
) -> nn.Sequential:
    """(B, C, H, W) -> (B, out, H/stride, W/stride); `norm` is the batch norm's name in timm."""
    block = nn.Sequential()
    block.conv = conv2d(
        in_channels, out_channels, kernel, stride, groups=groups, padding=config.padding
    )
    block.add_module(norm, batch_norm(config, out_channels))
    if act:
        block.act = activation(config)
    return block


def depthwise(
    config: MobileNetV4Config, channels: int, kernel: int, stride: int, *, act: bool = True
) -> nn.Module:
    """Depthwise convolution, or the identity for kernel 0."""
    if kernel == 0:
        return nn.Identity()
    return conv_norm_act(config, channels, channels, kernel, stride, groups=channels, act=act)


def fused_inverted_bottleneck(
    config: MobileNetV4Config, in_channels: int, spec: Fused
) -> nn.Sequential:
    """(B, C, H, W) -> (B, width, H/2, W/2)."""
    hidden = in_channels * spec.expansion
    block = nn.Sequential()
    block.conv_exp = conv2d(in_channels, hidden, 3, 2, padding=config.padding)
    block.bn1 = batch_norm(config, hidden)
    block.act = activation(config)
    block.conv_pwl = conv2d(hidden, spec.width)
    block.bn2 = batch_norm(config, spec.width)
    return block


class UniversalInvertedBottleneck(nn.Module):
    """Optional depthwise, 1x1 expand, optional depthwise, 1x1 project.

    (B, C, H, W) -> (B, width, H/stride, W/stride); the first depthwise convolution and the
    projection have no activation.
    """

    def __init__(
        self, config: MobileNetV4Config, width: int, spec: Uib, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        hidden = width * spec.expansion
        first = 1 if spec.mid else spec.stride
        self.dw_start = depthwise(config, width, spec.start, first, act=False)
        self.pw_exp = conv_norm_act(config, width, hidden)
        self.dw_mid = depthwise(config, hidden, spec.mid, spec.stride)
        self.pw_proj = conv_norm_act(config, hidden, spec.width, act=False)
        self.layer_scale = layer_scale(spec.width, config.layer_scale)
        self.has_shortcut = spec.stride == 1 and width == spec.width
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.pw_proj(self.dw_mid(self.pw_exp(self.dw_start(x))))
        y = self.layer_scale(y)
        return x + self.drop_path(y) if self.has_shortcut else y


class MobileNetV4(Backbone):
    """MobileNetV4 for images (B, in_channels, H, W).

    `drop` is the dropout before the classifier, `drop_path` the stochastic depth of the last
    residual branch; both are 0 by default, as in the released networks' inference.
    """

    def __init__(
        self,
        config: MobileNetV4Config,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        drop: float = 0.0,
        drop_path: float = 0.0,
        features_only: bool = False,
        out_indices: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.conv_stem = conv2d(in_channels, config.stem_width, 3, 2, padding=config.padding)
        self.bn1 = batch_norm(config, config.stem_width)
        self.act = activation(config)

        residual = sum(isinstance(spec, Uib | Mqa) for stage in config.stages for spec in stage)
        rates = iter(drop_path_rates(drop_path, residual))
        width, stride = config.stem_width, 2
        info = [FeatureInfo(width, stride)]
        stages: list[nn.Module] = []
        for specs in config.stages:
            blocks = []
            for spec in specs:
                blocks.append(self._block(spec, width, rates))
                if not isinstance(spec, Mqa):
                    width = spec.width
                    stride *= 2 if isinstance(spec, Fused) else spec.stride
            stages.append(nn.Sequential(*blocks))
            info.append(FeatureInfo(width, stride))
        self.blocks = nn.Sequential(*stages)

        # Of the maps of one stride the deepest is given.
        self._taken = [
            i for i, m in enumerate(info) if i + 1 == len(info) or info[i + 1].stride > m.stride
        ]
        self.feature_info = tuple(info[i] for i in self._taken)
        self.select_features(features_only, out_indices)
        if self.out_indices is None:
            self.conv_head = conv2d(width, config.head_width)
            self.norm_head = batch_norm(config, config.head_width)
            self.act2 = activation(config)
            self.drop = nn.Dropout(drop)
            self.classifier = (
                nn.Linear(config.head_width, num_classes) if num_classes else nn.Identity()
            )
        self._init_weights()

    def _block(
        self, spec: Conv | Fused | Uib | Mqa, width: int, rates: Iterator[float]
    ) -> nn.Module:
        config = self.config
        if isinstance(spec, Conv):
            return conv_norm_act(config, width, spec.width, spec.kernel, spec.stride, norm="bn1")
        if isinstance(spec, Fused):
            return fused_inverted_bottleneck(config, width, spec)
        if isinstance(spec, Uib):
            return UniversalInvertedBottleneck(config, width, spec, next(rates))
        attention = MobileMqa(
            width,
            heads=spec.heads,
            key_dim=spec.key_dim,
            kv_stride=spec.kv_stride,
            padding=config.padding,
            norm_eps=config.norm_eps,
            norm_momentum=config.norm_momentum,
        )
        return MobileMqaBlock(attention, scale=config.layer_scale, drop_path=next(rates))

    def _init_weights(self) -> None:
        """Normal, scaled by the fan-out of a group, as in timm; Mobile MQA has its own start."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and ".attn." not in name:
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        x = self.act(self.bn1(self.conv_stem(x)))
        if 0 in self._taken:
            yield x
        for i, stage in enumerate(self.blocks, start=1):
            x = stage(x)
            if i in self._taken:
                yield x

    def forward_head(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        x = self.act2(self.norm_head(self.conv_head(x))).flatten(1)  # (B, head_width)
        return self.classifier(self.drop(x))
