"""Convolutions, pools and resizing: maps in the order (B, H, W, C)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.fx import Node

from ...rewrite.network import argument, shape_of
from ..arrangement import Atom, View, is_run
from ..lower import Lowering, rule
from ..program import NotCovered, Tensor
from .matrix import fully_connected

aten = torch.ops.aten


def _pair(value: Any, default: int) -> tuple[int, int]:
    if value is None or value == []:
        return default, default
    if isinstance(value, int):
        return value, value
    values = tuple(int(one) for one in value)
    return (values[0], values[-1])


def _map(low: Lowering, argument: Any) -> tuple[View, Tensor]:
    view = low.view(argument)
    if len(view.axes) != 4:
        raise NotCovered("a map without a batch")
    b, c, h, w = view.axes
    return view, low.build.arranged(view, [b, h, w, c])


def _result(low: Lowering, tensor: Tensor, view: View) -> View:
    """A map (B,H,W,C) that an operator made from another; the batch's atoms stay."""
    axes = [
        (Atom(side, (place,)),) if side > 1 else ()
        for side, place in zip(tensor.shape[1:], (1, 2, 3), strict=True)
    ]
    b = view.axes[0]
    h, w, c = axes
    return View(tensor, (*b, *h, *w, *c), (b, c, h, w))


@rule(aten.conv2d.default)
def _conv2d(low: Lowering, node: Node) -> View:
    weight = low.weight(argument(node, 1, "weight"))
    bias = low.weight(argument(node, 2, "bias"))
    assert weight is not None
    stride = _pair(argument(node, 3, "stride"), 1)
    top, left = _pair(argument(node, 4, "padding"), 0)
    dilation = _pair(argument(node, 5, "dilation"), 1)
    groups = int(argument(node, 6, "groups", 1))
    name = str(node.args[1])
    view = low.view(node.args[0])
    is_pointwise = weight.shape[2:] == (1, 1) and stride == (1, 1) and not top and not left
    if is_pointwise and groups == 1 and not _lies_as_map(view):
        turned = view.permuted([0, 2, 3, 1])
        y = fully_connected(low, turned, weight[:, :, 0, 0], bias, name)
        return y.permuted([0, 3, 1, 2])
    view, x = _map(low, node.args[0])
    out, _, rows, columns = weight.shape
    b, _, h, w = shape_of(node)
    operands = [x]
    kind = "conv2d"
    attributes: dict[str, Any] = {
        "stride": stride, "dilation": dilation, "padding": (top, left, top, left),
        "activation": None,
    }  # fmt: skip
    if groups == shape_of(node.args[0])[1] and groups > 1:  # type: ignore[arg-type]
        kind = "depthwise_conv2d"
        kernel = weight[:, 0].permute(1, 2, 0)[None]  # (O,1,kh,kw) -> (1,kh,kw,O)
    else:
        kernel = weight.permute(0, 2, 3, 1)  # (O,I,kh,kw) -> (O,kh,kw,I)
        attributes["groups"] = groups
    del rows, columns
    operands.append(low.build.constant(kernel.numpy(), name))
    if bias is not None:
        operands.append(low.build.constant(bias.numpy(), f"{name}_bias"))
    return _result(low, low.build.emit(kind, operands, (b, h, w, out), **attributes), view)


def _lies_as_map(view: View) -> bool:
    """Whether it lies as (B,H,W,C), or could not be read by a linear layer without a copy either."""
    b, c, h, w = view.axes
    return view.memory == (*b, *h, *w, *c) or not (
        is_run(view.memory, c) and (not c or view.memory[-1] is c[-1])
    )


@rule(aten.max_pool2d.default)
def _max_pool(low: Lowering, node: Node) -> View:
    kernel = _pair(node.args[1], 1)
    stride = _pair(argument(node, 2, "stride"), 0)
    stride = kernel if stride == (0, 0) else stride
    top, left = _pair(argument(node, 3, "padding"), 0)
    dilation = _pair(argument(node, 4, "dilation"), 1)
    return _pool(low, node, "max_pool2d", kernel, stride, (top, left), dilation=dilation)


@rule(aten.avg_pool2d.default)
def _average_pool(low: Lowering, node: Node) -> View:
    kernel = _pair(node.args[1], 1)
    stride = _pair(argument(node, 2, "stride"), 0)
    stride = kernel if stride == (0, 0) else stride
    padding = _pair(argument(node, 3, "padding"), 0)
    counts_padding = bool(argument(node, 5, "count_include_pad", True))
    if argument(node, 6, "divisor_override") is not None:
        raise NotCovered("an average pool with a divisor of its own")
    if counts_padding and padding != (0, 0):
        # The mean over zeros too is a depthwise convolution with equal weights.
        view, x = _map(low, node.args[0])
        b, c, h, w = shape_of(node)
        equal = np.full((1, *kernel, c), 1 / (kernel[0] * kernel[1]), np.float32)
        _no_ceil_mode(low, node, kernel, stride, padding)
        tensor = low.build.emit(
            "depthwise_conv2d", [x, low.build.constant(equal, "mean")], (b, h, w, c),
            stride=stride, dilation=(1, 1), padding=(*padding, *padding), activation=None,
        )  # fmt: skip
        return _result(low, tensor, view)
    return _pool(low, node, "average_pool2d", kernel, stride, padding)


def _pool(
    low: Lowering,
    node: Node,
    kind: str,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    **more: Any,
) -> View:
    view, x = _map(low, node.args[0])
    b, c, h, w = shape_of(node)
    _no_ceil_mode(low, node, kernel, stride, padding, **more)
    tensor = low.build.emit(
        kind, [x], (b, h, w, c), kernel=kernel, stride=stride, padding=(*padding, *padding), **more
    )
    return _result(low, tensor, view)


def _no_ceil_mode(
    low: Lowering,
    node: Node,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> None:
    sides = shape_of(node.args[0])[2:]  # type: ignore[arg-type]
    for side, k, s, p, d, got in zip(
        sides, kernel, stride, padding, dilation, shape_of(node)[2:], strict=True
    ):
        if (side + 2 * p - d * (k - 1) - 1) // s + 1 != got:
            raise NotCovered("a pool with ceil_mode")


@rule(aten.upsample_bilinear2d.vec)
def _resize(low: Lowering, node: Node) -> View:
    view, x = _map(low, node.args[0])
    b, c, h, w = shape_of(node)
    align = bool(argument(node, 2, "align_corners"))
    factors: Any = argument(node, 3, "scale_factors")
    if factors is not None and not align:
        sides = shape_of(node.args[0])[2:]  # type: ignore[arg-type]
        if any(side * f != got for side, f, got in zip(sides, factors, (h, w), strict=True)):
            raise NotCovered("resizing by a factor that gives no whole size")
    tensor = low.build.emit(
        "resize_bilinear", [x], (b, h, w, c),
        size=(h, w), align_corners=align, half_pixel_centers=not align,
    )  # fmt: skip
    return _result(low, tensor, view)
