"""Mobile MQA, the attention of MobileNetV4 (arXiv 2404.10518), and its block.

Multi-query attention (arXiv 1911.02150) over the positions of a map: every head has queries of
its own, all share one key head and one value head, and these may be spatially downsampled.
Follows `OptimizedMultiQueryAttentionLayerWithDownSampling` and `MultiQueryAttentionLayerV2` of
tensorflow/models (official/vision/modeling/layers/nn_blocks.py), whose weights can be exchanged.

Deviations: maps need not be square; the sampling phase of strided convolutions is an option,
`padding`; BN defaults are PyTorch's, `TENSORFLOW` holds the source's.
Parameter names are timm's (`query.proj`, `key.down_conv`, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from converters.errors import UsageError

from .layers import DropPath

Padding = Literal["symmetric", "same"]

# Options of a layer that is to compute what TensorFlow's layer computes with the same weights.
TENSORFLOW: dict[str, Any] = {"padding": "same", "norm_eps": 1e-3, "norm_momentum": 0.01}


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: output side = ceil(side / stride).

    Of an odd number of padding pixels the last goes to the bottom and the right, so that at an
    even side and stride 2 the samples lie one pixel lower and further right than with k // 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = self._pads(x.shape[2], 0)
        left, right = self._pads(x.shape[3], 1)
        return super().forward(F.pad(x, (left, right, top, bottom)))

    def _pads(self, side: int, axis: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[axis], self.stride[axis]
        # The last window starts at the last multiple of the stride that lies in the map.
        total = kernel - stride + -side % stride
        if stride > kernel:  # without the condition a traced graph would warn of max()
            total = max(total, 0)
        return total // 2, total - total // 2


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    padding: Padding = "symmetric",
) -> nn.Conv2d:
    """A convolution without bias whose padding keeps the map's size at stride 1.

    "symmetric" pads k // 2 on each side, PyTorch's sampling phase; "same" is TensorFlow's. They
    differ in strided convolutions alone. Raises UsageError for another padding.
    """
    if padding not in get_args(Padding):
        raise UsageError(f"padding must be 'symmetric' or 'same', not {padding!r}")
    if stride > 1 and padding == "same":
        return SameConv2d(in_channels, out_channels, kernel_size, stride, groups=groups, bias=False)
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
    )


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch (arXiv 2103.17239)."""

    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma.view(-1, 1, 1)


def layer_scale(channels: int, init: float | None) -> nn.Module:
    """A layer scale that starts at `init`, or the identity for None."""
    return nn.Identity() if init is None else LayerScale(channels, init)


class MobileMqa(nn.Module):
    """Mobile multi-query attention over a map: (B, C, H, W) kept.

        x (B, C, H, W)
        ├─ query: average pool (qh, qw) and BN where strided, 1x1 conv   (B, h*kd, H/qh, W/qw)
        │         as one row for each position and head                 (B, N*h, kd)
        ├─ key:   depthwise 3x3 of stride s and BN where s > 1, 1x1 conv (B, kd, H/s, W/s)
        │         as one row for each position                          (B, M, kd)
        └─ value: the same with weights of its own                      (B, M, vd)
        softmax(query @ key.T / sqrt(kd)), dropout                      (B, N*h, M)
        @ value                                                         (B, N*h, vd)
        back to a map, the heads side by side                           (B, h*vd, H/qh, W/qw)
        bilinear upsampling where the query was strided                 (B, h*vd, H, W)
        1x1 conv                                                        (B, C, H, W)

    with h heads, N = H/qh * W/qw queries and M = ceil(H/s) * ceil(W/s) keys; no conv has a bias.
    As all heads share the keys and values, a head is nothing but more rows of the query: the
    attention is two plain matrix products, and in channels_last memory no row is moved.

    Cost in multiply-accumulates (BN, pooling and upsampling left out):

        query and output   N*C*h*kd + H*W*h*vd*C
        key and value      M*C*(kd + vd), and 2*9*M*C for the downsampling
        attention          N*M*h*(kd + vd)

    MobileNetV4's hybrid_medium has at stride 16 C=160, H=W=16, h=4, kd=vd=64: 59.8 M without
    downsampling (N = M = 256), 30.9 M with s=2 (M = 64), of which attention is 33.6 M and 8.4 M;
    the paper measures 15.8 and 12.8 ms for the whole network on the CPU of a Galaxy S23, at a loss
    of 0.06 points of top-1.

    `key_dim` is C / heads by default and `value_dim` is `key_dim`. Raises UsageError for sizes
    that do not fit, at construction or when a map comes in.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        key_dim: int | None = None,
        value_dim: int | None = None,
        query_strides: int | tuple[int, int] = 1,
        kv_stride: int = 1,
        padding: Padding = "symmetric",
        attn_drop: float = 0.0,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if isinstance(query_strides, int):
            query_strides = (query_strides, query_strides)
        positive = {
            "channels": channels,
            "heads": heads,
            "key_dim": key_dim,
            "value_dim": value_dim,
            "query_strides": min(query_strides),
            "kv_stride": kv_stride,
        }
        for name, number in positive.items():
            if number is not None and number < 1:
                raise UsageError(f"{name} of Mobile MQA must be 1 or more, not {number}")
        if key_dim is None:
            if channels % heads:
                raise UsageError(
                    f"{heads} heads do not divide the width of {channels} channels",
                    "give key_dim, or another number of heads",
                )
            key_dim = channels // heads
        if value_dim is None:
            value_dim = key_dim

        self.channels, self.heads = channels, heads
        self.key_dim, self.value_dim = key_dim, value_dim
        self.query_strides, self.kv_stride = query_strides, kv_stride
        self.attn_drop = attn_drop
        self.norm_eps, self.norm_momentum = norm_eps, norm_momentum
        self.scale = key_dim**-0.5

        def kv_branch(out: int) -> nn.Sequential:
            branch = nn.Sequential()
            if kv_stride > 1:
                branch.down_conv = conv2d(
                    channels, channels, 3, kv_stride, groups=channels, padding=padding
                )
                branch.norm = nn.BatchNorm2d(channels, norm_eps, norm_momentum)
            branch.proj = conv2d(channels, out, padding=padding)
            return branch

        self.query = nn.Sequential()
        if query_strides != (1, 1):
            self.query.down_pool = nn.AvgPool2d(query_strides)
            self.query.norm = nn.BatchNorm2d(channels, norm_eps, norm_momentum)
        self.query.proj = conv2d(channels, heads * key_dim)
        self.key = kv_branch(key_dim)
        self.value = kv_branch(value_dim)
        self.output = nn.Sequential()
        if query_strides != (1, 1):
            self.output.upsample = nn.Upsample(scale_factor=query_strides, mode="bilinear")
        self.output.proj = conv2d(heads * value_dim, channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # as in timm; keeps the first softmax from saturating
                nn.init.xavier_uniform_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        # A graph is captured at a size that has been run, and must not hold the checks.
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined]  # public, yet unlisted
        if not (tracing or torch.compiler.is_compiling()):
            self._check(x)
        q = self.query(x)
        b, _, h, w = q.shape
        # (B, heads*kd, h, w) -> (B, 1, h*w*heads, kd)
        q = q.permute(0, 2, 3, 1).reshape(b, 1, h * w * self.heads, self.key_dim)
        k = self.key(x).flatten(2).transpose(1, 2).unsqueeze(1)  # (B, 1, M, kd)
        v = self.value(x).flatten(2).transpose(1, 2).unsqueeze(1)  # (B, 1, M, vd)
        drop = self.attn_drop if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=drop, scale=self.scale)
        # (B, 1, h*w*heads, vd) -> (B, heads*vd, h, w)
        y = y.reshape(b, h, w, self.heads * self.value_dim).permute(0, 3, 1, 2)
        return self.output(y)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise UsageError(
                f"Mobile MQA of {self.channels} channels needs a map (B, {self.channels}, H, W), "
                f"not {tuple(x.shape)}"
            )
        h, w = x.shape[2:]
        qh, qw = self.query_strides
        if h % qh or w % qw:
            raise UsageError(f"query strides {qh}x{qw} do not divide the map of {h}x{w}")
        if self.kv_stride > min(h, w):
            raise UsageError(f"K/V stride {self.kv_stride} is larger than the map of {h}x{w}")

    def extra_repr(self) -> str:
        return f"heads={self.heads}, key_dim={self.key_dim}, value_dim={self.value_dim}"


class MobileMqaBlock(nn.Module):
    """BN, Mobile MQA, layer scale and stochastic depth beside a shortcut: (B, C, H, W) kept.

    `scale` is the initial layer scale, or None for a branch without; BN is as in the attention.
    """

    def __init__(
        self,
        attention: MobileMqa,
        *,
        scale: float | None = 1e-5,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        channels = attention.channels
        self.norm = nn.BatchNorm2d(channels, attention.norm_eps, attention.norm_momentum)
        self.attn = attention
        self.layer_scale = layer_scale(channels, scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.layer_scale(self.attn(self.norm(x))))


@dataclass(frozen=True)
class _Slot:
    """Where a tensor of TensorFlow's layer has its place in ours."""

    name: str  # in the state dict
    order: tuple[int, ...]  # of our axes, before they are reshaped to `shape`
    shape: tuple[int, ...]  # in TensorFlow


def _slots(layer: MobileMqa, optimized: bool) -> dict[str, _Slot]:
    """TensorFlow's names, which are those of its checkpoints below the layer, and our places."""
    c, h, kd, vd = layer.channels, layer.heads, layer.key_dim, layer.value_dim
    if not optimized:
        return {
            "_query_proj": _Slot("query.proj.weight", (0, 1, 2, 3), (h, kd, c)),
            "_key_proj": _Slot("key.proj.weight", (1, 0, 2, 3), (c, kd)),
            "_value_proj": _Slot("value.proj.weight", (1, 0, 2, 3), (c, vd)),
            "_output_proj": _Slot("output.proj.weight", (0, 1, 2, 3), (c, h, vd)),
        }
    slots: dict[str, _Slot] = {}
    if layer.query_strides != (1, 1):
        slots |= _norm_slots("_query_downsampling_norm", "query.norm", c)
    for branch in ("key", "value") if layer.kv_stride > 1 else ():
        slots[f"_{branch}_dw_conv/depthwise_kernel"] = _Slot(
            f"{branch}.down_conv.weight", (2, 3, 0, 1), (3, 3, c, 1)
        )
        slots |= _norm_slots(f"_{branch}_dw_norm", f"{branch}.norm", c)
    widths = {"query": (c, h * kd), "key": (c, kd), "value": (c, vd), "output": (h * vd, c)}
    for branch, width in widths.items():
        slots[f"_{branch}_proj/kernel"] = _Slot(
            f"{branch}.proj.weight", (2, 3, 1, 0), (1, 1, *width)
        )
    return slots


def _norm_slots(theirs: str, ours: str, channels: int) -> dict[str, _Slot]:
    names = {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    return {f"{theirs}/{k}": _Slot(f"{ours}.{v}", (0,), (channels,)) for k, v in names.items()}


def to_tensorflow(layer: MobileMqa, *, optimized: bool | None = None) -> dict[str, NDArray[Any]]:
    """The weights of a layer in the names and shapes of TensorFlow's.

    The layout is MultiQueryAttentionLayerV2's where nothing is strided and
    OptimizedMultiQueryAttentionLayerWithDownSampling's otherwise, as MobileNetV4 chooses them;
    `optimized` chooses for a layer without strides. Names are those of a TensorFlow checkpoint
    below the layer, such as `_query_proj/kernel`.

    Raises UsageError when a strided layer is asked for in the layout that has no strides.
    """
    strided = layer.kv_stride > 1 or layer.query_strides != (1, 1)
    if strided and optimized is False:
        raise UsageError("MultiQueryAttentionLayerV2 has no strides, but this Mobile MQA has")
    state = layer.state_dict()
    return {
        name: state[slot.name].permute(slot.order).reshape(slot.shape).float().cpu().numpy()
        for name, slot in _slots(layer, strided if optimized is None else optimized).items()
    }


def load_tensorflow(layer: MobileMqa, weights: Mapping[str, NDArray[Any]]) -> None:
    """Copies weights of TensorFlow's layers into ours, from either layout of `to_tensorflow`.

    A checkpoint's suffix `/.ATTRIBUTES/VARIABLE_VALUE` is understood. For the same output build
    the layer with the options `TENSORFLOW` (padding and BN of the source).

    Raises UsageError for weights that are missing, unknown or of another shape; the layer is
    then as it was.
    """
    found = {k.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): v for k, v in weights.items()}
    slots = _slots(layer, optimized="_query_proj" not in found)
    if missing := sorted(slots.keys() - found.keys()):
        raise UsageError(f"weights of TensorFlow's layer are missing: {', '.join(missing)}")
    if unknown := sorted(found.keys() - slots.keys()):
        raise UsageError(f"this Mobile MQA has no place for the weights {', '.join(unknown)}")
    state = layer.state_dict()
    for name, slot in slots.items():
        if found[name].shape != slot.shape:
            raise UsageError(
                f"'{name}' has the shape {found[name].shape}, this Mobile MQA needs {slot.shape}"
            )
        shape = [state[slot.name].shape[axis] for axis in slot.order]
        inverse = [slot.order.index(axis) for axis in range(len(slot.order))]
        state[slot.name] = torch.tensor(found[name]).reshape(shape).permute(inverse)
    layer.load_state_dict(state)
