"""Convolutions and pools: maps in the order (B, H, W, C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from ...rewrite.network import argument
from ..arrangement import View
from ..program import NotCovered
from ..rules import Lowering, array, rule
from . import maps
from .matrix import fully_connected, reads_in_place

aten = torch.ops.aten

_Pair = tuple[int, int]


@rule(aten.conv2d.default)
def _conv2d(low: Lowering, node: Node) -> View:
    weight = low.weight(node.args[1])
    bias = None if node.args[2] is None else low.weight(node.args[2])
    stride, padding, dilation = (_pair(one) for one in node.args[3:6])
    groups: Any = node.args[6]
    name = str(node.args[1])
    view = low.view(node.args[0])
    is_pointwise = (*weight.shape[2:], *stride, *padding, groups) == (1, 1, 1, 1, 0, 0, 1)
    b, c, h, w = view.axes
    is_map = view.memory == (*b, *h, *w, *c)
    if is_pointwise and not is_map and reads_in_place(view, 1, bias is not None):
        y = fully_connected(low.build, view.permuted([0, 2, 3, 1]), weight[:, :, 0, 0], bias, name)
        return y.permuted([0, 3, 1, 2])
    x = maps.operand(low, node)
    attributes: dict[str, Any] = {"stride": stride, "dilation": dilation}
    if groups == x.shape[3] and groups > 1:
        kind = "depthwise_conv2d"
        kernel = weight.permute(1, 2, 3, 0)  # (C*m,1,kh,kw) -> (1,kh,kw,C*m)
    else:
        kind = "conv2d"
        kernel = weight.permute(0, 2, 3, 1)  # (O,I,kh,kw) -> (O,kh,kw,I)
        attributes["groups"] = groups
    operands = [x, low.build.constant(array(kernel), name)]
    if bias is not None:
        operands.append(low.build.constant(array(bias), f"{name}_bias"))
    shape = maps.array_shape(node)
    result = low.build.emit(
        kind, operands, shape, **attributes, padding=(*padding, *padding), activation=None
    )
    return maps.result(result, view)


@dataclass(frozen=True)
class _Windows:
    """The windows of a pool: kernel, stride, padding (top, left, bottom, right), dilation."""

    kernel: _Pair
    stride: _Pair
    padding: tuple[int, int, int, int]
    dilation: _Pair

    @classmethod
    def of(cls, node: Node, dilation: Any = 1) -> _Windows:
        """With as much padding behind as its output has windows: more where they end over it."""
        kernel = _pair(node.args[1])
        stride = _pair(argument(node, 2, "stride") or kernel)
        before = _pair(argument(node, 3, "padding", 0))
        behind = [
            max(p, (count - 1) * s + d * (k - 1) + 1 - side - p)
            for side, count, k, s, p, d in zip(
                maps.sides(node.args[0]), maps.sides(node), kernel, stride, before, _pair(dilation),
                strict=True,
            )
        ]  # fmt: skip
        return cls(kernel, stride, (*before, behind[0], behind[1]), _pair(dilation))


@rule(aten.max_pool2d.default)
def _max_pool(low: Lowering, node: Node) -> View:
    x = maps.operand(low, node)
    windows = _Windows.of(node, argument(node, 4, "dilation", 1))
    if windows.kernel == (1, 1) and not any(windows.padding):
        return _equally_weighted(low, node, windows)
    result = low.build.emit("max_pool2d", [x], maps.array_shape(node), **vars(windows))
    return maps.result(result, low.view(node.args[0]))


@rule(aten.avg_pool2d.default)
def _average_pool(low: Lowering, node: Node) -> View:
    if argument(node, 6, "divisor_override") is not None:
        raise NotCovered("an average pool with a divisor of its own")
    x = maps.operand(low, node)
    windows = _Windows.of(node)
    top, left, bottom, right = windows.padding
    counts_padding = bool(top or left) and argument(node, 5, "count_include_pad", True)
    if counts_padding and (top, left) != (bottom, right):
        raise NotCovered("an average pool with ceil_mode that counts padding")
    if counts_padding or (windows.kernel == (1, 1) and not any(windows.padding)):
        return _equally_weighted(low, node, windows)
    attributes = {name: value for name, value in vars(windows).items() if name != "dilation"}
    result = low.build.emit("average_pool2d", [x], maps.array_shape(node), **attributes)
    return maps.result(result, low.view(node.args[0]))


def _equally_weighted(low: Lowering, node: Node, windows: _Windows) -> View:
    """The mean over windows, zeros of the padding too, as a depthwise convolution.

    Of single pixels as well: XNNPACK has no pools of 1x1.
    """
    shape = maps.array_shape(node)
    height, width = windows.kernel
    weight = np.full((1, height, width, shape[3]), 1 / (height * width), np.float32)
    result = low.build.emit(
        "depthwise_conv2d",
        [maps.operand(low, node), low.build.constant(weight, f"{node.name}_mean")],
        shape,
        stride=windows.stride,
        padding=windows.padding,
        dilation=(1, 1),
        activation=None,
    )
    return maps.result(result, low.view(node.args[0]))


def _pair(value: Any) -> _Pair:
    values = [value] if isinstance(value, int) else [int(one) for one in value]
    return values[0], values[-1]
