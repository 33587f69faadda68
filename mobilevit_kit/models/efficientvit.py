"""EfficientViT: memory efficient vision transformer with cascaded group attention.

arXiv 2305.07027, the networks M0 to M5 of microsoft/Cream; not MIT's family of the same name
(arXiv 2205.14756). Follows figure 3 and table 1 of the paper and the released code, except that

- attention windows are fitted to `config.image_size`, and any other size, square or not, runs in
  windows padded with zeros (the released classifiers refuse other sizes);
- a relative bias is expanded from its table in every forward (the released cache keeps the old
  bias when weights are loaded into a network in eval mode);
- `fused()`, the network to export, holds expanded biases as constants (theirs keeps the gather).

Parameter names are timm's (`patch_embed`, `stages.i.blocks.j`, `head.linear`).
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from converters.errors import UsageError

from .layers import Backbone, ConvNormAct, DropPath, FeatureInfo, drop_path_rates

_STRIDES = (16, 32, 64)  # of the three stages


@dataclass(frozen=True)
class EfficientVitConfig:
    """Everything that determines the network, apart from classes and input channels."""

    widths: tuple[int, int, int]  # channels of the three stages
    depths: tuple[int, int, int]  # blocks of each
    heads: tuple[int, int, int]  # attention heads of each
    kernels: tuple[int, ...]  # depthwise kernel on the query of each head, first to last
    key_dim: int = 16  # of one head's query and key; its value has width / heads channels
    window: int = 7  # largest side of an attention window
    image_size: int = 224  # shorter side of the images that the windows are fitted to

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise UsageError(f"the image size must be 1 or more, not {self.image_size}")

    @property
    def windows(self) -> tuple[int, ...]:
        """Side of each stage's windows: the stage's map where it is smaller than `window`."""
        return tuple(min(self.window, math.ceil(self.image_size / s)) for s in _STRIDES)


VARIANTS: dict[str, EfficientVitConfig] = {
    "efficientvit_m0": EfficientVitConfig((64, 128, 192), (1, 2, 3), (4, 4, 4), (5, 5, 5, 5)),
    "efficientvit_m1": EfficientVitConfig((128, 144, 192), (1, 2, 3), (2, 3, 3), (7, 5, 3, 3)),
    "efficientvit_m2": EfficientVitConfig((128, 192, 224), (1, 2, 3), (4, 3, 2), (7, 5, 3, 3)),
    "efficientvit_m3": EfficientVitConfig((128, 240, 320), (1, 2, 3), (4, 3, 4), (5, 5, 5, 5)),
    "efficientvit_m4": EfficientVitConfig((128, 256, 384), (1, 2, 3), (4, 4, 4), (7, 5, 3, 3)),
    "efficientvit_m5": EfficientVitConfig((192, 288, 384), (1, 3, 4), (3, 3, 4), (7, 5, 3, 3)),
}

_ConvNormReLU = partial(ConvNormAct, act=nn.ReLU)


_ConvNorm = partial(ConvNormAct, act=None)


def _silent(layer: ConvNormAct) -> ConvNormAct:
    """Zeroes the norm's weight: a residual branch that ends here starts as nothing."""
    nn.init.zeros_(layer.bn.weight)
    return layer


class Residual(nn.Module):
    """`x + m(x)`, with stochastic depth on the branch."""

    def __init__(self, m: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.m = m
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.m(x)
        return x + (self.drop_path(y) if self.training else y)


def feed_forward(channels: int) -> nn.Sequential:
    """1x1 convolution to twice the width, ReLU, 1x1 back: (B, C, H, W) kept."""
    wide = _ConvNormReLU(channels, 2 * channels)
    return nn.Sequential(OrderedDict(pw1=wide, pw2=_silent(_ConvNorm(2 * channels, channels))))


class SqueezeExcite(nn.Module):
    """Scales each channel by what the mean of all channels says (arXiv 1709.01507)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        return x * self.fc2(F.relu(self.fc1(scale))).sigmoid()


def downsample(channels: int, out_channels: int, rate1: float, rate2: float) -> nn.Sequential:
    """(B, C, H, W) -> (B, out, H/2, W/2): an inverted residual with squeeze and excitation.

    Before and after it come a depthwise convolution and a feed-forward, as in a block.
    """

    def local(dim: int, drop_path: float) -> nn.Sequential:
        dw = Residual(_ConvNorm(dim, dim, 3, groups=dim), drop_path)
        return nn.Sequential(dw, Residual(feed_forward(dim), drop_path))

    hidden = 4 * channels
    merge = OrderedDict(
        conv1=_ConvNormReLU(channels, hidden),
        conv2=_ConvNormReLU(hidden, hidden, 3, 2, groups=hidden),
        se=SqueezeExcite(hidden, channels),
        conv3=_ConvNorm(hidden, out_channels),
    )
    before, after = local(channels, rate1), local(out_channels, rate2)
    return nn.Sequential(OrderedDict(res1=before, patchmerge=nn.Sequential(merge), res2=after))


class CascadedGroupAttention(nn.Module):
    """Attention whose heads each see their own share of the channels (figure 3c of the paper).

    A head adds the previous head's output to its share, so they run one after the other. Windows
    (B, C, S, S) -> (B, C, S, S), of the one side S that the bias tables are made for.
    """

    offsets: Tensor

    def __init__(self, config: EfficientVitConfig, stage: int) -> None:
        super().__init__()
        dim, heads, key_dim = config.widths[stage], config.heads[stage], config.key_dim
        if dim % heads:
            raise UsageError(f"{heads} attention heads do not divide the width {dim}")
        if len(config.kernels) < heads:
            raise UsageError(f"{len(config.kernels)} kernels for {heads} attention heads")
        share = dim // heads
        self.heads = heads
        self.window = window = config.windows[stage]
        self.scale = key_dim**-0.5
        self.splits = (key_dim, key_dim, share)
        self.qkvs = nn.ModuleList(_ConvNorm(share, sum(self.splits)) for _ in range(heads))
        self.dws = nn.ModuleList(
            _ConvNorm(key_dim, key_dim, k, groups=key_dim) for k in config.kernels[:heads]
        )
        self.proj = nn.Sequential(nn.ReLU(), _silent(_ConvNorm(dim, dim)))

        # One bias for each head and each pair of distances |dy|, |dx| between two pixels.
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        y, x = (a.flatten() for a in torch.meshgrid(*2 * [torch.arange(window)], indexing="ij"))
        offsets = (y[:, None] - y).abs() * window + (x[:, None] - x).abs()  # (S*S, S*S)
        self.register_buffer("offsets", offsets.flatten(), persistent=False)
        self.folded_bias: nn.ParameterList | None = None

    def biases(self) -> Iterable[Tensor]:
        """The relative bias of each head, (S*S, S*S)."""
        if self.folded_bias is not None:
            return self.folded_bias
        n = self.window**2
        return self.attention_biases.index_select(1, self.offsets).view(-1, n, n).unbind()

    def fold(self) -> None:
        """Turns the biases into constants and moves the scale of q into the norm behind it.

        scale * (w * conv(q) + b) = (scale * w) * conv(q) + scale * b.
        """
        self.folded_bias = nn.ParameterList(self.biases()).requires_grad_(False)
        del self.attention_biases, self.offsets
        for dw in self.dws:
            assert isinstance(dw, ConvNormAct)
            dw.bn.weight.mul_(self.scale)
            dw.bn.bias.mul_(self.scale)
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        shares = x.chunk(self.heads, dim=1)
        outputs: list[Tensor] = []
        for share, qkv, dw, bias in zip(shares, self.qkvs, self.dws, self.biases(), strict=True):
            y = share + outputs[-1] if outputs else share
            q, k, v = qkv(y).split(self.splits, dim=1)
            q, k, v = dw(q).flatten(2), k.flatten(2), v.flatten(2)  # (B, channels, N = S*S)
            # (B, N, N) = bias + scale * q^T k
            scores = torch.baddbmm(bias, q.transpose(1, 2), k, alpha=self.scale)
            y = torch.bmm(v, scores.softmax(dim=-1).transpose(1, 2))  # (B, C/heads, N)
            outputs.append(y.reshape(b, -1, h, w))
        return self.proj(torch.cat(outputs, dim=1))


class LocalWindowAttention(nn.Module):
    """Attention within windows of side S: (B, C, H, W) kept.

    A map whose sides S does not divide is padded with zeros below and to the right; the padding
    takes part in the attention, as in the released code.
    """

    def __init__(self, attn: CascadedGroupAttention) -> None:
        super().__init__()
        self.attn = attn

    def forward(self, x: Tensor) -> Tensor:
        s = self.attn.window
        b, c, h, w = x.shape
        if h == s and w == s:
            return self.attn(x)
        rows, columns = math.ceil(h / s), math.ceil(w / s)
        padded = (rows * s, columns * s) != (h, w)
        if padded:
            x = F.pad(x, (0, columns * s - w, 0, rows * s - h))

        # (B, C, rows*S, columns*S) -> (B*rows*columns, C, S, S) and back, through tensors of rank 4
        # only, which every accelerator takes
        x = x.permute(0, 2, 3, 1).reshape(b * rows, s, columns, s * c).transpose(1, 2)
        x = self.attn(x.reshape(b * rows * columns, s, s, c).permute(0, 3, 1, 2))
        x = x.permute(0, 2, 3, 1).reshape(b * rows, columns, s, s * c).transpose(1, 2)
        x = x.reshape(b, rows * s, columns * s, c).permute(0, 3, 1, 2)
        return x[:, :, :h, :w] if padded else x


class Block(nn.Module):
    """The sandwich: depthwise convolution and feed-forward, attention, and both again."""

    def __init__(self, config: EfficientVitConfig, stage: int, drop_path: float) -> None:
        super().__init__()
        dim = config.widths[stage]
        self.dw0 = Residual(_silent(_ConvNorm(dim, dim, 3, groups=dim)), drop_path)
        self.ffn0 = Residual(feed_forward(dim), drop_path)
        self.mixer = Residual(
            LocalWindowAttention(CascadedGroupAttention(config, stage)), drop_path
        )
        self.dw1 = Residual(_silent(_ConvNorm(dim, dim, 3, groups=dim)), drop_path)
        self.ffn1 = Residual(feed_forward(dim), drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return self.ffn1(self.dw1(self.mixer(self.ffn0(self.dw0(x)))))


class NormLinear(nn.Module):
    """The classifier: batch norm, dropout, linear: (B, C) -> (B, classes)."""

    def __init__(self, channels: int, num_classes: int, drop: float) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)
        self.drop = nn.Dropout(drop)
        self.linear = nn.Linear(channels, num_classes)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.drop(self.bn(x)))


class EfficientVit(Backbone):
    """EfficientViT for images (B, in_channels, H, W).

    `drop` is the dropout of the head, `drop_path` the stochastic depth of the last block's
    branches; both are 0 by default, as in the released networks.
    """

    def __init__(
        self,
        config: EfficientVitConfig,
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
        first = config.widths[0]
        self.patch_embed = nn.Sequential(
            OrderedDict(
                conv1=_ConvNormReLU(in_channels, first // 8, 3, 2),
                conv2=_ConvNormReLU(first // 8, first // 4, 3, 2),
                conv3=_ConvNormReLU(first // 4, first // 2, 3, 2),
                conv4=_ConvNorm(first // 2, first, 3, 2),
            )
        )
        rates = iter(drop_path_rates(drop_path, sum(config.depths) + 2 * 2))
        stages = []
        for i, depth in enumerate(config.depths):
            down: nn.Module = nn.Identity()
            if i > 0:
                before, width = config.widths[i - 1 : i + 1]
                down = downsample(before, width, next(rates), next(rates))
            blocks = nn.Sequential(*(Block(config, i, next(rates)) for _ in range(depth)))
            stages.append(nn.Sequential(OrderedDict(downsample=down, blocks=blocks)))
        self.stages = nn.Sequential(*stages)
        self.feature_info = tuple(map(FeatureInfo, config.widths, _STRIDES))
        self.select_features(features_only, out_indices)
        if self.out_indices is None:
            last = config.widths[-1]
            self.head = NormLinear(last, num_classes, drop) if num_classes else nn.Identity()

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        x = self.patch_embed(x)
        for stage in self.stages:
            x = stage(x)
            yield x

    def forward_head(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))

    def fused(self) -> EfficientVit:
        """A frozen copy in eval mode that computes the same with less: what to export.

        Norms are folded into their neighbours, relative biases are constants. The copy's entries
        have other names than a checkpoint's, so that loading one is refused.
        """
        # Folded in double precision, so that the only error is one rounding of each weight.
        network = copy.deepcopy(self).eval().requires_grad_(False).double()
        for module in list(network.modules()):
            if isinstance(module, CascadedGroupAttention) and module.folded_bias is None:
                module.fold()
        fold_norms(network)
        return network.to(next(self.parameters()).dtype)


def fold_norms(network: nn.Module) -> None:
    """Folds batch norms into their neighbours, in place; the network must be in eval mode.

    bn(x) = s * x + t, so bn(conv_w(x)) = conv_{s*w}(x) + t and W bn(x) + b = (W s) x + (W t + b).
    """
    for module in network.modules():
        if isinstance(module, ConvNormAct) and isinstance(module.bn, nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.register_module("bn", nn.Identity())
        elif isinstance(module, NormLinear) and isinstance(module.bn, nn.BatchNorm1d):
            linear = module.linear
            t = module.bn(torch.zeros_like(linear.weight[:1]))  # (1, C)
            s = module.bn(torch.ones_like(t)) - t
            linear.bias.add_((linear.weight * t).sum(1))
            linear.weight.mul_(s)
            module.register_module("bn", nn.Identity())


def resize_biases(weights: Mapping[str, Tensor], config: EfficientVitConfig) -> dict[str, Tensor]:
    """Weights for `config`, from weights whose windows were fitted to another image size.

    A network runs at any size without this, in padded windows. To fit the windows to a size, build
    the network from `dataclasses.replace(config, image_size=size)` and load what this returns.
    Each head's S x S table of distances is resized as an image, bicubic with antialiasing, which
    is timm's choice; the released detection code has no antialiasing.
    """
    result = dict(weights)
    for name, table in weights.items():
        if name.endswith(".attention_biases"):
            stage = int(name.split(".")[1])  # stages.i.blocks.j.mixer.m.attn.attention_biases
            old, new = math.isqrt(table.shape[1]), config.windows[stage]
            grid = table.float().reshape(1, -1, old, old)
            grid = F.interpolate(grid, (new, new), mode="bicubic", antialias=True)
            result[name] = table if old == new else grid.reshape(-1, new * new).to(table.dtype)
    return result


def is_official(names: Iterable[str]) -> bool:
    """Whether these are parameter names of the released code (microsoft/Cream)."""
    return any(name.startswith("blocks1.") for name in names)


def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The released code's weights (its files hold them under "model") under this module's names.

    Drops the offsets of the biases, which are no weights; linear squeeze layers, which the
    released loader also accepts, become 1x1 convolutions.
    """
    return {
        _our_name(name): t[:, :, None, None] if ".se.fc" in name and t.ndim == 2 else t
        for name, t in state_dict.items()
        if not name.endswith(".attention_bias_idxs")
    }


def _our_name(name: str) -> str:
    match parts := [{"c": "conv", "l": "linear"}.get(part, part) for part in name.split(".")]:
        case ["patch_embed", ("0" | "2" | "4" | "6") as i, *rest]:
            parts = ["patch_embed", f"conv{int(i) // 2 + 1}", *rest]
        case ["blocks1", *rest]:
            parts = ["stages.0.blocks", *rest]
        case [("blocks2" | "blocks3") as blocks, i, *rest] if i.isdigit():
            down = ("res1", "patchmerge", "res2")
            block = f"downsample.{down[int(i)]}" if int(i) < 3 else f"blocks.{int(i) - 3}"
            parts = [f"stages.{int(blocks[-1]) - 1}", block, *rest]
    return ".".join(parts)
