"""Rules for layers: convolutions, products of matrices, norms, pools, resizing."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node

from ..network import Network, argument, dtype_of, shape_of
from .rules import rule
from .views import reshape

aten = torch.ops.aten


@rule(
    aten.conv2d.default, aten.conv2d.padding, aten.conv1d.default, aten.conv1d.padding,
    aten.convolution.default,
)  # fmt: skip
def _convolution(network: Network, node: Node) -> Node:
    """In two dimensions, on a batch: one axis is a row of a map."""
    x: Any
    weight: Any
    x, weight = node.args[:2]
    sides = shape_of(weight)[2:]
    count = len(sides)
    is_raw = node.target is aten.convolution.default
    if count > 2 or (is_raw and node.args[6]):  # three dimensions, or transposed
        return node
    stride = _each(argument(node, 3, "stride", 1), count)
    padding = argument(node, 4, "padding", 0)
    dilation = _each(argument(node, 5, "dilation", 1), count)
    groups = argument(node, 8 if is_raw else 6, "groups", 1)
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, sides, strict=True)]
        padding = [total // 2 for total in totals]
        if any(total % 2 for total in totals):
            widths = [width for total in reversed(totals) for width in (0, total % 2)]
            x = network.call(aten.constant_pad_nd.default, x, widths, 0, at=node)
    padding = [0] * count if padding == "valid" else _each(padding, count)
    if count == 1:
        stride, padding, dilation = [1, *stride], [0, *padding], [1, *dilation]
        weight = _constant_as(network, weight, (*shape_of(weight)[:2], 1, *sides), at=node)
    batch = shape_of(x)[: -count - 1] or (1,)
    map_shape = (shape_of(x)[-count - 1], *(1,) * (2 - count), *shape_of(x)[-count:])
    x = reshape(network, x, batch + map_shape, at=node)
    args = (x, weight, argument(node, 2, "bias"), stride, padding, dilation, groups)
    if node.target is aten.conv2d.default and args == node.args:
        return node
    return reshape(
        network, network.call(aten.conv2d.default, *args, at=node), shape_of(node), at=node
    )


def _each(value: Any, count: int) -> list[int]:
    """A number for each axis, where one may stand for all."""
    values = [value] if isinstance(value, int) else [int(one) for one in value]
    return values * count if len(values) == 1 else values


def _constant_as(network: Network, x: Node, shape: Sequence[int], *, at: Node) -> Node:
    """A constant in another shape; a call that makes it where `x` is none."""
    value = network.value(x)
    if value is None:
        return reshape(network, x, shape, at=at)
    return network.like(value.reshape(shape), x, before=at)


@rule(aten.linear.default)
def _linear(network: Network, node: Node) -> Node:
    if argument(node, 2, "bias", False) is None:
        return network.call(aten.linear.default, *node.args[:2], at=node)
    return node


@rule(
    aten.matmul.default, aten.bmm.default, aten.mm.default, aten.mv.default,
    aten.linalg_matmul.default,
)  # fmt: skip
def _matmul(network: Network, node: Node) -> Node:
    a: Any
    b: Any
    a, b = node.args
    if len(shape_of(a)) == 1:
        a = reshape(network, a, (1, *shape_of(a)), at=node)
    if len(shape_of(b)) == 1:
        b = reshape(network, b, (*shape_of(b), 1), at=node)
    weight = as_weight(network, b, at=node)
    if weight is not None:
        y = network.call(aten.linear.default, a, weight, at=node)
    else:
        y = network.call(aten.matmul.default, a, b, at=node)
    return reshape(network, y, shape_of(node), at=node)


def as_weight(network: Network, b: Any, *, at: Node) -> Node | None:
    """The weight of the linear layer that multiplies by `b`, if that is one constant matrix.

    Axes of size 1 may stand before it.
    """
    if b.op == "call_function" and b.target is aten.permute.default and len(shape_of(b)) == 2:
        inner: Any = b.args[0]
        return inner if inner.op == "get_attr" else None
    value = network.value(b)
    if value is None or math.prod(value.shape[:-2]) != 1:
        return None
    return network.like(value.reshape(value.shape[-2:]).t(), b, before=at)


@rule(aten.addmm.default, aten.baddbmm.default)
def _matmul_and_add(network: Network, node: Node) -> Node:
    x: Any
    x, a, b = node.args
    alpha, beta = node.kwargs.get("alpha", 1), node.kwargs.get("beta", 1)
    weight = as_weight(network, b, at=node)
    if weight is None:
        y = network.call(aten.matmul.default, a, b, at=node)
    elif alpha == beta == 1 and x.op == "get_attr" and shape_of(x) == shape_of(weight)[:1]:
        return network.call(aten.linear.default, a, weight, x, at=node)
    else:
        y = network.call(aten.linear.default, a, weight, at=node)
    if alpha != 1:
        y = network.call(aten.mul.Tensor, y, alpha, at=node)
    if beta != 1:
        x = network.call(aten.mul.Tensor, x, beta, at=node)
    return network.call(aten.add.Tensor, y, x, at=node)


def _in_place_of_first(network: Network, node: Node, new: Node) -> None:
    """Lets the readers of the first of several results read `new`."""
    for reader in list(node.users):
        if reader.target is operator.getitem and reader.args[1] == 0:
            network.replace(reader, new)


@rule(aten._native_batch_norm_legit_no_training.default)
def _native_batch_norm(network: Network, node: Node) -> None:
    x, weight, bias, mean, variance, momentum, eps = node.args
    args = (x, weight, bias, mean, variance, False, momentum, eps, False)
    _in_place_of_first(network, node, network.call(aten.batch_norm.default, *args, at=node))


@rule(aten.layer_norm.default, aten.native_layer_norm.default)
def _layer_norm(network: Network, node: Node) -> Node | None:
    x, sizes, *_ = node.args
    weight, bias = argument(node, 2, "weight"), argument(node, 3, "bias")
    new = network.call(
        aten.layer_norm.default, x, sizes, weight, bias, argument(node, 4, "eps", 1e-5), at=node
    )
    if node.target is aten.layer_norm.default:
        return new
    _in_place_of_first(network, node, new)
    return None


@rule(aten.group_norm.default)
def _group_norm(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    groups: Any = node.args[1]
    weight, bias = argument(node, 2, "weight"), argument(node, 3, "bias")
    return _group_normed(network, x, groups, weight, bias, argument(node, 4, "eps", 1e-5), at=node)


@rule(aten.native_group_norm.default)
def _native_group_norm(network: Network, node: Node) -> None:
    x, weight, bias, _, _, _, groups, eps = node.args
    new = _group_normed(network, x, groups, weight, bias, eps, at=node)  # type: ignore[arg-type]
    _in_place_of_first(network, node, new)


@rule(aten.instance_norm.default)
def _instance_norm(network: Network, node: Node) -> Node:
    x: Any
    x, weight, bias, mean, variance, by_input, momentum, eps, _ = node.args
    if not by_input:
        args = (x, weight, bias, mean, variance, False, momentum, eps, False)
        return network.call(aten.batch_norm.default, *args, at=node)
    return _group_normed(network, x, shape_of(x)[1], weight, bias, eps, at=node)


def _group_normed(
    network: Network, x: Any, groups: int, weight: Any, bias: Any, eps: Any, *, at: Node
) -> Node:
    """A layer norm over the channels of a group and all positions, then the affine of a channel."""
    b, c, *sides = shape_of(x)
    shape = [b, c, *sides] if groups == 1 else [b, groups, c // groups, *sides]
    sizes = shape[1:] if groups == 1 else shape[2:]
    y = reshape(network, x, shape, at=at)
    y = network.call(aten.layer_norm.default, y, sizes, None, None, eps, at=at)
    y = reshape(network, y, shape_of(x), at=at)
    for target, values in ((aten.mul.Tensor, weight), (aten.add.Tensor, bias)):
        if values is not None:
            values = _constant_as(network, values, (c, *[1] * len(sides)), at=at)
            y = network.call(target, y, values, at=at)
    return y


@rule(aten.rms_norm.default)
def _rms_norm(network: Network, node: Node) -> Node:
    """The root mean square as the norm: x / sqrt(mean(x^2) + eps), times a weight."""
    x: Any = node.args[0]
    sizes: Any = node.args[1]
    weight, eps = argument(node, 2, "weight"), argument(node, 3, "eps")
    if eps is None:
        eps = torch.finfo(dtype_of(x)).eps
    rank = len(shape_of(x))
    squares = network.call(aten.pow.Tensor_Scalar, x, 2, at=node)
    axes = [*range(rank - len(sizes), rank)]
    mean = network.call(aten.mean.dim, squares, axes, True, at=node)
    shifted = network.call(aten.add.Tensor, mean, eps, at=node)
    y = network.call(
        aten.mul.Tensor, x, network.call(aten.rsqrt.default, shifted, at=node), at=node
    )
    return y if weight is None else network.call(aten.mul.Tensor, y, weight, at=node)


@rule(aten.adaptive_avg_pool2d.default, aten.adaptive_avg_pool1d.default)
def _adaptive_pool(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    count = 2 if node.target is aten.adaptive_avg_pool2d.default else 1
    got, sides = shape_of(node)[-count:], shape_of(x)[-count:]
    if math.prod(got) == 1:
        axes = [*range(len(shape_of(x)) - count, len(shape_of(x)))]
        return network.call(aten.mean.dim, x, axes, True, at=node)
    if any(side % one for side, one in zip(sides, got, strict=True)) or count == 1:
        return node
    kernel = [side // one for side, one in zip(sides, got, strict=True)]
    return network.call(aten.avg_pool2d.default, x, kernel, kernel, at=node)


@rule(aten.avg_pool1d.default, aten.max_pool1d.default)
def _pool_over_a_row(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    *batch, channels, side = shape_of(x)
    kernel = _each(node.args[1], 1)
    stride = _each(argument(node, 2, "stride") or kernel, 1)
    padding = _each(argument(node, 3, "padding", 0), 1)
    x = reshape(network, x, (math.prod(batch), channels, 1, side), at=node)
    windows = ([1, *kernel], [1, *stride], [0, *padding])
    if node.target is aten.max_pool1d.default:
        target = aten.max_pool2d.default
        rest = (
            [1, *_each(argument(node, 4, "dilation", 1), 1)],
            argument(node, 5, "ceil_mode", False),
        )
    else:
        target = aten.avg_pool2d.default
        counts_padding = argument(node, 5, "count_include_pad", True)
        rest = (argument(node, 4, "ceil_mode", False), counts_padding)
    return reshape(
        network, network.call(target, x, *windows, *rest, at=node), shape_of(node), at=node
    )


@rule(aten.max_pool2d_with_indices.default)
def _max_pool_with_places(network: Network, node: Node) -> None:
    if all(reader.args[1] == 0 for reader in node.users):
        new = network.call(aten.max_pool2d.default, *node.args, at=node)
        _in_place_of_first(network, node, new)


@rule(aten.upsample_bilinear2d.vec, aten.upsample_bilinear2d.default)
def _bilinear(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    if node.target is aten.upsample_bilinear2d.vec:
        factors = argument(node, 3, "scale_factors")
    else:
        factors = [argument(node, 3, "scales_h"), argument(node, 4, "scales_w")]
    plain = factors is None or all(one in (None, 1) for one in factors)
    if shape_of(x) == shape_of(node) and plain:
        return x
    if node.target is aten.upsample_bilinear2d.vec or not plain:
        return node
    align: Any = node.args[2]
    size = list(shape_of(node)[2:])
    return network.call(aten.upsample_bilinear2d.vec, x, size, align, None, at=node)
