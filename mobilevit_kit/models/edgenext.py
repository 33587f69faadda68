"""EdgeNeXt: efficiently amalgamated CNN-transformer architecture for mobile vision applications.

arXiv 2206.10589. Follows table 1 and figure 2 of the paper, and the released networks where they
say more: the base variant, layer scale from 1e-6, norms with eps 1e-6, the rest as the last part
of channels that do not split evenly, and the positional encoding in the second stage alone.

Deviations from the released code, none of which changes a result by more than rounding: the
encoding is made once for the batch instead of for each image, the layer scale is applied in the
same pass as the residual sum, GELU overwrites its input, and no tensor has more than four
dimensions, which is what the delegates of phones take.

Parameter names are timm's (`stem`, `stages.i.downsample`, `stages.i.blocks.j`, `head.fc`);
`from_official` maps the names of mmaaz60/EdgeNeXt to them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.errors import UsageError

from .layers import Backbone, DropPath, FeatureInfo, Mlp, drop_path_rates


@dataclass(frozen=True)
class EdgeNextConfig:
    """Everything that determines the network, apart from classes and input channels."""

    widths: tuple[int, int, int, int]  # channels of the four stages (strides 4 to 32)
    depths: tuple[int, int, int, int]  # encoders of each stage
    heads: int  # of the channel attention
    kernels: tuple[int, int, int, int] = (3, 5, 7, 9)  # of the convolution encoders
    sdta: tuple[int, int, int, int] = (0, 1, 1, 1)  # how many encoders at a stage's end are SDTA
    scales: tuple[int, int, int, int] = (2, 2, 3, 4)  # channel splits in the SDTA encoders
    positional: tuple[bool, bool, bool, bool] = (False, True, False, False)
    expansion: int = 4  # of the inverted bottlenecks
    layer_scale: float = 1e-6  # at the start of training
    norm_eps: float = 1e-6  # of the layer norms


VARIANTS: dict[str, EdgeNextConfig] = {
    "edgenext_xx_small": EdgeNextConfig((24, 48, 88, 168), (2, 2, 6, 2), heads=4),
    "edgenext_x_small": EdgeNextConfig((32, 64, 100, 192), (3, 3, 9, 3), heads=4),
    "edgenext_small": EdgeNextConfig((48, 96, 160, 304), (3, 3, 9, 3), heads=8),
    "edgenext_base": EdgeNextConfig((80, 160, 288, 584), (3, 3, 9, 3), heads=8),
}


class MapNorm(nn.LayerNorm):
    """Layer norm over the channels of a map: (B, C, H, W) kept."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class InplaceGelu(nn.Module):
    """The exact GELU, written over its input.

    The inverted bottleneck's inner map is the widest tensor of the network and nothing else
    reads it; a second one beside it would be the peak of memory, and costs up to a fifth of the
    time in fresh pages.
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.aten.gelu_(x)


class ConvEncoder(nn.Module):
    """Depthwise kxk, layer norm, inverted bottleneck, with a residual: (B, C, H, W) kept."""

    def __init__(self, config: EdgeNextConfig, dim: int, kernel: int, drop_path: float) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.mlp = Mlp(dim, dim * config.expansion, act=InplaceGelu)
        self.gamma = nn.Parameter(torch.full((dim,), config.layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_dw(x).permute(0, 2, 3, 1)  # (B, H, W, C)
        y = self.drop_path(self.mlp(self.norm(y))).permute(0, 3, 1, 2)
        return torch.addcmul(x, y, self.gamma[:, None, None])


class FourierPositionalEncoding(nn.Module):
    """Sines and cosines of the position, projected: a height and a width -> (1, C, H, W).

    Row y of H has the phase 2 pi y / H, counted from 1, and half of the `2 * hidden` values;
    column x of W has the other half. Nothing here depends on the image, so that an exported
    graph can fold all of it into one constant.
    """

    def __init__(self, dim: int, hidden: int = 32, temperature: float = 10000.0) -> None:
        super().__init__()
        self.hidden = hidden
        self.temperature = temperature
        self.token_projection = nn.Conv2d(2 * hidden, dim, 1)

    def forward(self, height: int, width: int) -> Tensor:
        rows = self.waves(height)[:, None, :].expand(height, width, self.hidden)
        columns = self.waves(width)[None, :, :].expand(height, width, self.hidden)
        table = torch.cat((rows, columns), dim=2).type_as(self.token_projection.weight)
        return self.token_projection(table.permute(2, 0, 1)[None])

    def waves(self, length: int) -> Tensor:
        """(length, hidden) in float32: sine and cosine of each frequency, interleaved."""
        device = self.token_projection.weight.device
        place = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        phase = place * (2 * math.pi / (length + 1e-6))
        exponent = torch.arange(0, self.hidden, 2, dtype=torch.float32, device=device)
        angle = phase[:, None] / self.temperature ** (exponent / self.hidden)
        return torch.stack((angle.sin(), angle.cos()), dim=2).flatten(1)


class CrossCovarianceAttention(nn.Module):
    """XCA (arXiv 2106.09681): attention between channels, linear in the tokens: (B, N, C) kept.

    Queries and keys are scaled to length 1 over the tokens, and a learned temperature for each
    head takes the place of 1 / sqrt(d).
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise UsageError(f"{heads} heads do not divide {dim} channels")
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).transpose(1, 2).reshape(b, 3 * self.heads, c // self.heads, n)
        q, k, v = qkv.chunk(3, dim=1)  # each (B, heads, C/heads, N)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        weights = (scores * self.temperature).softmax(-1)  # (B, heads, C/heads, C/heads)
        return self.proj((weights @ v).reshape(b, c, n).transpose(1, 2))


class SdtaEncoder(nn.Module):
    """Split depthwise transpose attention with an inverted bottleneck: (B, C, H, W) kept.

    The channels are split in `scales` parts. Each part but the last passes a 3x3 depthwise
    convolution after the result of the part before was added to it, so that the field of view
    grows from part to part; the last part stays as it is. Channel attention then mixes them all.
    """

    def __init__(
        self,
        config: EdgeNextConfig,
        dim: int,
        scales: int,
        positional: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.width = math.ceil(dim / scales)
        self.convs = nn.ModuleList(
            nn.Conv2d(self.width, self.width, 3, padding=1, groups=self.width)
            for _ in range(scales - 1)
        )
        self.pos_embd = FourierPositionalEncoding(dim) if positional else None
        self.norm_xca = nn.LayerNorm(dim, eps=config.norm_eps)
        self.xca = CrossCovarianceAttention(dim, config.heads)
        self.gamma_xca = nn.Parameter(torch.full((dim,), config.layer_scale))
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.mlp = Mlp(dim, dim * config.expansion, act=InplaceGelu)
        self.gamma = nn.Parameter(torch.full((dim,), config.layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolve(x)
        if self.pos_embd is not None:
            y = y + self.pos_embd(y.shape[2], y.shape[3])
        y = y.flatten(2).transpose(1, 2)  # (B, H*W, C)
        y = torch.addcmul(y, self.drop_path(self.xca(self.norm_xca(y))), self.gamma_xca)
        y = self.drop_path(self.mlp(self.norm(y)))
        y = y.transpose(1, 2).reshape(x.shape)
        return torch.addcmul(x, y, self.gamma[:, None, None])

    def convolve(self, x: Tensor) -> Tensor:
        """The multi-scale convolutions over the channel splits: (B, C, H, W) kept."""
        first, *others, last = x.split(self.width, dim=1)
        done = [self.convs[0](first)]
        for conv, part in zip(self.convs[1:], others, strict=True):
            done.append(conv(done[-1] + part))
        return torch.cat((*done, last), dim=1)


class Stage(nn.Module):
    """Downsampling where the stride changes, convolution encoders, then SDTA encoders."""

    def __init__(self, downsample: nn.Module, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class Head(nn.Module):
    """Global average pool, layer norm, dropout, linear: (B, C, H, W) -> (B, classes)."""

    def __init__(self, config: EdgeNextConfig, num_classes: int, drop: float) -> None:
        super().__init__()
        channels = config.widths[-1]
        self.norm = nn.LayerNorm(channels, eps=config.norm_eps)
        self.drop = nn.Dropout(drop)
        self.fc = nn.Linear(channels, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.norm(x.mean((2, 3)))))


class EdgeNext(Backbone):
    """EdgeNeXt for images (B, in_channels, H, W).

    `drop` is the dropout before the classifier, the only one of the released networks, and
    `drop_path` the stochastic depth of the last encoder; both are 0 by default.
    """

    def __init__(
        self,
        config: EdgeNextConfig,
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
        width, eps = config.widths[0], config.norm_eps
        self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 4, stride=4), MapNorm(width, eps))

        rates = iter(drop_path_rates(drop_path, sum(config.depths)))
        stages = []
        for i, (dim, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            downsample = (
                nn.Sequential(MapNorm(width, eps), nn.Conv2d(width, dim, 2, stride=2))
                if i > 0
                else nn.Identity()
            )
            blocks: list[nn.Module] = []
            for j in range(depth):
                if j < depth - config.sdta[i]:
                    blocks.append(ConvEncoder(config, dim, config.kernels[i], next(rates)))
                else:
                    scales, positional = config.scales[i], config.positional[i]
                    blocks.append(SdtaEncoder(config, dim, scales, positional, next(rates)))
            stages.append(Stage(downsample, blocks))
            width = dim
        self.stages = nn.Sequential(*stages)

        self.feature_info = tuple(
            FeatureInfo(channels, 2 ** (i + 2)) for i, channels in enumerate(config.widths)
        )
        self.select_features(features_only, out_indices)
        if self.out_indices is None:
            self.head = Head(config, num_classes, drop)
        self.apply(_initialise)

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            yield x

    def forward_head(self, x: Tensor) -> Tensor:
        return self.head(x)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


# Official names to ours, the first pattern that fits; other names are the same on both sides.
_OFFICIAL_NAMES = (
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
    (r"^norm\.", "head.norm."),
    (r"^head\.", "head.fc."),
    (r"^stages\.(\d)\.(\d+)\.dwconv\.", r"stages.\1.blocks.\2.conv_dw."),
    (r"^stages\.(\d)\.(\d+)\.pwconv(\d)\.", r"stages.\1.blocks.\2.mlp.fc\3."),
    (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
)


def is_official(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of mmaaz60/EdgeNeXt.

    ConvNeXt's official names are a part of them, so that the attention has to be among them.
    """
    names = list(names)
    return any(n.startswith("downsample_layers.") for n in names) and any(
        re.match(r"stages\.\d\.\d+\.xca\.", n) for n in names
    )


def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Maps the weights of mmaaz60/EdgeNeXt to this module's names; the tensors are the same."""
    return {_our_name(name): tensor for name, tensor in state_dict.items()}


def _our_name(name: str) -> str:
    for pattern, replacement in _OFFICIAL_NAMES:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    return name
