"""MobileViT: light-weight, general-purpose, mobile-friendly vision transformer (arXiv 2110.02178).

Follows table 4 of the paper and the released cvnets networks. A map whose sides the 2x2 patch
does not divide is resized bilinearly on the way into the transformer and back on the way out, as
cvnets does; the paper does not say.

Parameter names are timm's (`stem`, `stages.i.j`, `final_conv`, `head.fc`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Backbone, ConvNormAct, DropPath, FeatureInfo, Mlp, drop_path_rates


@dataclass(frozen=True)
class MobileVitConfig:
    """Everything that determines the network, apart from classes and input channels."""

    widths: tuple[int, int, int, int, int]  # channels of the five stages (strides 2 to 32)
    dims: tuple[int, int, int]  # transformer width of the stages at strides 8, 16, 32
    final_width: int  # channels of the last 1x1 convolution
    expansion: int  # MV2 blocks: inner channels as a multiple of the input's
    depths: tuple[int, int, int] = (2, 4, 3)  # transformer layers at strides 8, 16, 32
    mv2_repeats: int = 3  # MV2 blocks of the stride-4 stage
    stem_width: int = 16
    heads: int = 4
    mlp_ratio: int = 2
    patch: int = 2
    norm_eps: float = 1e-5  # of the layer norms


VARIANTS: dict[str, MobileVitConfig] = {
    "mobilevit_xxs": MobileVitConfig((16, 24, 48, 64, 80), (64, 80, 96), 320, expansion=2),
    "mobilevit_xs": MobileVitConfig((32, 48, 64, 80, 96), (96, 120, 144), 384, expansion=4),
    "mobilevit_s": MobileVitConfig((32, 64, 96, 128, 160), (144, 192, 240), 640, expansion=4),
}


class MobileNetV2Block(nn.Module):
    """Inverted residual (arXiv 1801.04381): 1x1 expand, 3x3 depthwise, linear 1x1 project."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        expansion: int,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.conv1_1x1 = ConvNormAct(in_channels, hidden)
        self.conv2_kxk = ConvNormAct(hidden, hidden, 3, stride, groups=hidden)
        self.conv3_1x1 = ConvNormAct(hidden, out_channels, act=None)
        self.has_shortcut = stride == 1 and in_channels == out_channels
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3_1x1(self.conv2_kxk(self.conv1_1x1(x)))
        return x + self.drop_path(y) if self.has_shortcut else y


class Attention(nn.Module):
    """Multi-head self-attention over tokens (B, N, C)."""

    def __init__(
        self, dim: int, heads: int, attn_drop: float = 0.0, proj_drop: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.attn_drop = attn_drop
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, C/heads)
        drop = self.attn_drop if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=drop)
        return self.proj_drop(self.proj(y.transpose(1, 2).reshape(b, n, c)))


class TransformerLayer(nn.Module):
    """Pre-norm transformer encoder layer over tokens (B, N, C)."""

    def __init__(self, config: MobileVitConfig, dim: int, drop: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=config.norm_eps)
        self.attn = Attention(dim, config.heads, attn_drop=drop, proj_drop=drop)
        self.norm2 = nn.LayerNorm(dim, eps=config.norm_eps)
        silu = functools.partial(nn.SiLU, inplace=True)
        self.mlp = Mlp(dim, dim * config.mlp_ratio, act=silu, drop=drop)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class MobileVitBlock(nn.Module):
    """Local convolution, a transformer across patches, fusion with the input: (B, C, H, W) kept.

    The transformer sees, for each of the patch's P = patch**2 pixel positions, the sequence of
    that pixel in all N patches; together with the convolution before it every output pixel
    depends on every input pixel (figure 1b of the paper).
    """

    def __init__(
        self,
        config: MobileVitConfig,
        channels: int,
        dim: int,
        drop: float,
        drop_paths: Sequence[float],
    ) -> None:
        super().__init__()
        self.patch = config.patch
        self.conv_kxk = ConvNormAct(channels, channels, 3)
        self.conv_1x1 = nn.Conv2d(channels, dim, 1, bias=False)
        self.transformer = nn.Sequential(
            *(TransformerLayer(config, dim, drop, rate) for rate in drop_paths)
        )
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.conv_proj = ConvNormAct(dim, channels)
        self.conv_fusion = ConvNormAct(2 * channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_1x1(self.conv_kxk(x))
        y = self.attend(y)
        y = self.conv_proj(y)
        return self.conv_fusion(torch.cat((x, y), dim=1))

    def attend(self, x: Tensor) -> Tensor:
        """Unfold into patches, transformer, fold: (B, D, H, W) kept."""
        p = self.patch
        b, d, h, w = x.shape
        rows, columns = math.ceil(h / p), math.ceil(w / p)
        resized = (rows * p, columns * p) != (h, w)
        if resized:
            x = F.interpolate(x, (rows * p, columns * p), mode="bilinear", align_corners=False)

        # (B, D, rows*p, columns*p) -> (B*p*p, rows*columns, D)
        x = x.reshape(b * d * rows, p, columns, p).transpose(1, 2)
        x = x.reshape(b, d, rows * columns, p * p).transpose(1, 3)
        x = x.reshape(b * p * p, rows * columns, d)

        x = self.norm(self.transformer(x))

        # (B*p*p, rows*columns, D) -> (B, D, rows*p, columns*p)
        x = x.reshape(b, p * p, rows * columns, d).transpose(1, 3)
        x = x.reshape(b * d * rows, columns, p, p).transpose(1, 2)
        x = x.reshape(b, d, rows * p, columns * p)
        if resized:
            x = F.interpolate(x, (h, w), mode="bilinear", align_corners=False)
        return x


class Head(nn.Module):
    """Global average pool, dropout, linear: (B, C, H, W) -> (B, classes)."""

    def __init__(self, channels: int, num_classes: int, drop: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(drop)
        self.fc = nn.Linear(channels, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(x.mean((2, 3))))


class MobileVit(Backbone):
    """MobileViT for images (B, in_channels, H, W).

    `drop` is the dropout of the transformer and the head, `drop_path` the stochastic depth of
    the last residual branch; both are 0 by default, as in the released networks' inference.
    """

    def __init__(
        self,
        config: MobileVitConfig,
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
        self.stem = ConvNormAct(in_channels, config.stem_width, 3, stride=2)

        shallow = [(config.widths[0], 1, 1), (config.widths[1], 2, config.mv2_repeats)]
        rates = iter(
            drop_path_rates(
                drop_path, 1 + config.mv2_repeats + len(config.dims) + sum(config.depths)
            )
        )
        stages: list[nn.Module] = []
        width = config.stem_width
        for out, stride, repeats in shallow:
            blocks = []
            for i in range(repeats):
                blocks.append(
                    MobileNetV2Block(
                        width, out, stride if i == 0 else 1, config.expansion, next(rates)
                    )
                )
                width = out
            stages.append(nn.Sequential(*blocks))
        for out, dim, depth in zip(config.widths[2:], config.dims, config.depths, strict=True):
            down = MobileNetV2Block(width, out, 2, config.expansion, next(rates))
            vit = MobileVitBlock(config, out, dim, drop, [next(rates) for _ in range(depth)])
            stages.append(nn.Sequential(down, vit))
            width = out
        self.stages = nn.Sequential(*stages)
        self.final_conv = ConvNormAct(width, config.final_width)

        self.feature_info = tuple(
            FeatureInfo(channels, 2 ** (i + 1))
            for i, channels in enumerate((*config.widths[:4], config.final_width))
        )
        self.select_features(features_only, out_indices)
        if self.out_indices is None:
            self.head = Head(config.final_width, num_classes, drop)

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        x = self.stem(x)
        *shallow, deepest = self.stages
        for stage in shallow:
            x = stage(x)
            yield x
        yield self.final_conv(deepest(x))

    def forward_head(self, x: Tensor) -> Tensor:
        return self.head(x)
