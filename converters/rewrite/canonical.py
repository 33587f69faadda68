"""One spelling for each thing: the operators that rewrites and the lowering know.

PyTorch has many names for one computation. After `canonicalise` a graph that moves data does it
with

    reshape(x, sizes)  permute(x, axes)  expand(x, sizes)  slice(x, axis, start, end, step)
    cat(tensors, axis)  constant_pad_nd(x, widths, value)

with sizes and bounds as plain numbers, and a graph that computes does it with

    conv2d  linear  matmul  batch_norm  layer_norm  softmax  scaled_dot_product_attention
    mean.dim  sum.dim_IntList  avg_pool2d  max_pool2d  upsample_bilinear2d.vec
    add sub mul div maximum minimum (.Tensor, no alpha)  clamp  pow.Tensor_Scalar
    relu silu gelu sigmoid tanh hardswish hardsigmoid elu leaky_relu abs neg sqrt rsqrt exp log ...

Everything else stays as it is, and is nobody's business here. Identities (dropout in eval mode,
copies, casts to the same type) are gone.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from .network import Network, argument, dtype_of, shape_of

aten = torch.ops.aten

Rule = Callable[[Network, Node], Node | None]
_RULES: dict[Any, Rule] = {}


def canonicalise(network: Network) -> None:
    for node in network.calls():
        rule = _RULES.get(node.target)
        if rule is None or node._erased:
            continue
        new = rule(network, node)
        if new is not None and new is not node:
            network.replace(node, new)


def _rule(*targets: Any) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(targets, rule))
        return rule

    return register


@_rule(
    aten.alias.default, aten.clone.default, aten.contiguous.default, aten.detach.default,
    aten.dropout.default, aten.feature_dropout.default, aten.expand_as.default, aten.lift_fresh_copy.default,
    aten.to.dtype, aten.to.dtype_layout, aten.type_as.default, aten._to_copy.default,
)  # fmt: skip
def _identity(network: Network, node: Node) -> Node | None:
    x = node.args[0]
    assert isinstance(x, Node)
    if "dropout" in str(node.target) and argument(node, 2, "train"):
        return None
    if dtype_of(x) != dtype_of(node):
        return None
    if shape_of(x) != shape_of(node):  # expand_as
        return network.call(aten.expand.default, x, list(shape_of(node)), at=node)
    return x


@_rule(
    aten.flatten.using_ints, aten.view.default, aten._unsafe_view.default, aten.reshape.default,
    aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default,
    aten.unflatten.int, aten.view_as.default, aten.reshape_as.default,
)  # fmt: skip
def _reshape(network: Network, node: Node) -> Node:
    return reshape(network, node.args[0], shape_of(node), at=node)


@_rule(
    aten.permute.default, aten.transpose.int, aten.t.default, aten.swapaxes.default,
    aten.movedim.int, aten.numpy_T.default, aten.mT.default,
)  # fmt: skip
def _permute(network: Network, node: Node) -> Node:
    x = node.args[0]
    assert isinstance(x, Node)
    axes = list(range(len(shape_of(x))))
    match node.target:
        case aten.permute.default:
            axes = [int(axis) % len(axes) for axis in node.args[1]]  # type: ignore[union-attr,arg-type]
        case aten.transpose.int | aten.swapaxes.default:
            i, j = (int(axis) % len(axes) for axis in node.args[1:])  # type: ignore[arg-type]
            axes[i], axes[j] = j, i
        case aten.mT.default:
            axes[-2:] = axes[-1], axes[-2]
        case aten.movedim.int:
            i, j = (int(axis) % len(axes) for axis in node.args[1:])  # type: ignore[arg-type]
            axes.insert(j, axes.pop(i))
        case _:
            axes.reverse()
    return permute(network, x, axes, at=node)


def reshape(network: Network, x: Any, shape: tuple[int, ...], *, at: Node) -> Node:
    """`x` in another shape; reshapes of reshapes are one."""
    while x.op == "call_function" and x.target is aten.reshape.default:
        x = x.args[0]
    if shape_of(x) == tuple(shape):
        return x
    return network.call(aten.reshape.default, x, list(shape), at=at)


def permute(network: Network, x: Node, axes: list[int], *, at: Node) -> Node:
    """`x` with its axes in another order; permutations of permutations are one."""
    if x.op == "call_function" and x.target is aten.permute.default:
        inner: Any = x.args[1]
        axes = [inner[axis] for axis in axes]
        x = x.args[0]  # type: ignore[assignment]
    if axes == sorted(axes):
        return x
    return network.call(aten.permute.default, x, axes, at=at)


def sliced(network: Network, x: Node, axis: int, start: int, end: int, *, at: Node) -> Node:
    if (start, end) == (0, shape_of(x)[axis]):
        return x
    return network.call(aten.slice.Tensor, x, axis, start, end, at=at)


@_rule(aten.slice.Tensor, aten.narrow.default)
def _slice(network: Network, node: Node) -> Node:
    x = node.args[0]
    assert isinstance(x, Node)
    axis = int(argument(node, 1, "dim", 0)) % len(shape_of(x))
    side = shape_of(x)[axis]
    start, end, step = argument(node, 2, "start"), argument(node, 3, "end"), 1
    if node.target is aten.narrow.default:
        end = start + node.args[3]
    else:
        step = argument(node, 4, "step", 1)
    start, end, step = slice(start, end, step).indices(side)
    if step == 1:
        return sliced(network, x, axis, start, max(start, end), at=node)
    if node.args[1:] == (axis, start, end, step):
        return node
    return network.call(aten.slice.Tensor, x, axis, start, end, step, at=node)


@_rule(aten.select.int)
def _select(network: Network, node: Node) -> Node:
    x, axis, index = node.args
    assert isinstance(x, Node)
    axis, index = axis % len(shape_of(x)), index % shape_of(x)[axis]  # type: ignore[operator,index]
    part = sliced(network, x, axis, index, index + 1, at=node)
    return reshape(network, part, shape_of(node), at=node)


@_rule(
    aten.split.Tensor, aten.split_with_sizes.default, aten.split.sizes, aten.chunk.default,
    aten.unbind.int, aten.tensor_split.sections,
)  # fmt: skip
def _split(network: Network, node: Node) -> None:
    """A slice for each part that is read."""
    x = node.args[0]
    assert isinstance(x, Node)
    default = 0 if node.target is not aten.unbind.int else 0
    position = 1 if node.target is aten.unbind.int else 2
    axis = int(argument(node, position, "dim", default)) % len(shape_of(x))
    starts = [0]
    for part in node.meta["val"]:
        starts.append(starts[-1] + (1 if node.target is aten.unbind.int else part.shape[axis]))
    for reader in list(node.users):
        if reader.target is not operator.getitem:
            return
    for reader in list(node.users):
        i = int(reader.args[1])  # type: ignore[arg-type]
        start, end = starts[i], starts[i + 1] if i != -1 else starts[-1]
        part = sliced(network, x, axis, start, end, at=reader)
        network.replace(reader, reshape(network, part, shape_of(reader), at=reader))


@_rule(aten.stack.default)
def _stack(network: Network, node: Node) -> Node:
    tensors: Any = node.args[0]
    axis = int(argument(node, 1, "dim", 0)) % len(shape_of(node))
    shape = list(shape_of(node))
    shape[axis] = 1
    parts = [reshape(network, one, tuple(shape), at=node) for one in tensors]
    return network.call(aten.cat.default, parts, axis, at=node)


@_rule(aten.cat.default, aten.concat.default)
def _cat(network: Network, node: Node) -> Node:
    axis = int(argument(node, 1, "dim", 0)) % len(shape_of(node))
    tensors: Any = node.args[0]
    if len(tensors) == 1:
        return tensors[0]
    if node.args[1:] == (axis,) and node.target is aten.cat.default:
        return node
    return network.call(aten.cat.default, tensors, axis, at=node)


@_rule(aten.roll.default)
def _roll(network: Network, node: Node) -> Node:
    x, shifts, axes = node.args[0], node.args[1], argument(node, 2, "dims", ())
    assert isinstance(x, Node)
    for shift, axis in zip(shifts, axes, strict=True):  # type: ignore[arg-type]
        side = shape_of(x)[axis]
        cut = -shift % side  # type: ignore[operator]
        if cut:
            parts = [
                sliced(network, x, axis % len(shape_of(x)), *bounds, at=node)
                for bounds in ((cut, side), (0, cut))
            ]
            x = network.call(aten.cat.default, parts, axis % len(shape_of(x)), at=node)
    return x


@_rule(aten.pixel_shuffle.default)
def _pixel_shuffle(network: Network, node: Node) -> Node:
    x, r = node.args
    b, c, h, w = shape_of(x)  # type: ignore[arg-type]
    y = reshape(network, x, (b, c // (r * r), r, r, h, w), at=node)  # type: ignore[operator]
    y = permute(network, y, [0, 1, 4, 2, 5, 3], at=node)
    return reshape(network, y, shape_of(node), at=node)


@_rule(aten.pad.default)
def _pad(network: Network, node: Node) -> Node:
    if argument(node, 2, "mode", "constant") != "constant":
        return node
    value = argument(node, 3, "value") or 0.0
    return network.call(aten.constant_pad_nd.default, node.args[0], node.args[1], value, at=node)


@_rule(aten.add.Tensor, aten.sub.Tensor, aten.add_.Tensor)
def _without_alpha(network: Network, node: Node) -> Node:
    alpha = argument(node, 2, "alpha", 1)
    if alpha == 1:
        return node
    scaled = network.call(aten.mul.Tensor, node.args[1], alpha, at=node)
    return network.call(node.target, node.args[0], scaled, at=node)  # type: ignore[arg-type]


@_rule(aten.rsub.Scalar)
def _reversed(network: Network, node: Node) -> Node:
    if argument(node, 2, "alpha", 1) != 1:
        return node
    negative = network.call(aten.mul.Tensor, node.args[0], -1.0, at=node)
    return network.call(aten.add.Tensor, negative, node.args[1], at=node)


@_rule(aten.addcmul.default)
def _addcmul(network: Network, node: Node) -> Node:
    x, a, b = node.args
    product = network.call(aten.mul.Tensor, a, b, at=node)
    factor = node.kwargs.get("value", 1)
    if factor != 1:
        product = network.call(aten.mul.Tensor, product, factor, at=node)
    return network.call(aten.add.Tensor, x, product, at=node)


@_rule(aten.bmm.default, aten.mm.default)
def _matmul(network: Network, node: Node) -> Node:
    return network.call(aten.matmul.default, *node.args, at=node)


@_rule(aten.baddbmm.default, aten.addmm.default)
def _matmul_and_add(network: Network, node: Node) -> Node:
    x, a, b = node.args
    product = network.call(aten.matmul.default, a, b, at=node)
    for factor, name in ((node.kwargs.get("alpha", 1), "alpha"), (node.kwargs.get("beta", 1), "")):
        if factor != 1 and name:
            product = network.call(aten.mul.Tensor, product, factor, at=node)
        elif factor != 1:
            x = network.call(aten.mul.Tensor, x, factor, at=node)
    return network.call(aten.add.Tensor, x, product, at=node)


@_rule(aten.conv2d.padding)
def _conv_padding(network: Network, node: Node) -> Node:
    x, weight = node.args[0], node.args[1]
    assert isinstance(x, Node) and isinstance(weight, Node)
    bias = argument(node, 2, "bias")
    stride = _pair(argument(node, 3, "stride", 1))
    dilation = _pair(argument(node, 5, "dilation", 1))
    groups = argument(node, 6, "groups", 1)
    padding = [0, 0]
    if argument(node, 4, "padding", "valid") == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, shape_of(weight)[2:], strict=True)]
        padding = [total // 2 for total in totals]
        uneven = [total % 2 for total in totals]
        if any(uneven):
            widths = [0, uneven[1], 0, uneven[0]]
            x = network.call(aten.constant_pad_nd.default, x, widths, 0.0, at=node)
    return network.call(
        aten.conv2d.default, x, weight, bias, stride, padding, dilation, groups, at=node
    )


@_rule(aten.adaptive_avg_pool2d.default)
def _global_pool(network: Network, node: Node) -> Node | None:
    x, size = node.args
    h, w = shape_of(x)[2:]  # type: ignore[arg-type]
    rows, columns = _pair(size)
    if (rows, columns) == (1, 1):
        return network.call(aten.mean.dim, x, [2, 3], True, at=node)
    if h % rows or w % columns:
        return None
    kernel = [h // rows, w // columns]
    return network.call(aten.avg_pool2d.default, x, kernel, kernel, at=node)


@_rule(aten.mean.dim)
def _mean(network: Network, node: Node) -> Node:
    x, axes = node.args[0], argument(node, 1, "dim")
    rank = len(shape_of(x))  # type: ignore[arg-type]
    axes = sorted(axis % rank for axis in (axes or range(rank)))
    if list(node.args[1:]) == [axes, True]:
        return node
    kept = network.call(aten.mean.dim, x, axes, True, at=node)
    return reshape(network, kept, shape_of(node), at=node)


@_rule(aten.hardtanh.default)
def _hardtanh(network: Network, node: Node) -> Node:
    low, high = argument(node, 1, "min_val", -1), argument(node, 2, "max_val", 1)
    return network.call(aten.clamp.default, node.args[0], low, high, at=node)


@_rule(aten.relu6.default)
def _relu6(network: Network, node: Node) -> Node:
    return network.call(aten.clamp.default, node.args[0], 0, 6, at=node)


@_rule(aten.clamp_min.default)
def _clamp_min(network: Network, node: Node) -> Node:
    return network.call(aten.clamp.default, *node.args, at=node)


@_rule(aten._softmax.default)
def _softmax(network: Network, node: Node) -> Node:
    return network.call(aten.softmax.int, node.args[0], node.args[1], at=node)


@_rule(aten.square.default)
def _square(network: Network, node: Node) -> Node:
    return network.call(aten.pow.Tensor_Scalar, node.args[0], 2, at=node)


@_rule(aten.repeat.default)
def _repeat(network: Network, node: Node) -> Node:
    """Copies side by side along an axis: a new axis of copies before it, merged with it."""
    x = node.args[0]
    times: Any = node.args[1]
    assert isinstance(x, Node)
    shape = (1,) * (len(times) - len(shape_of(x))) + shape_of(x)
    apart = [side for pair in zip((1,) * len(times), shape, strict=True) for side in pair]
    wide = [side for pair in zip(times, shape, strict=True) for side in pair]
    if math.prod(times) == 1:
        return reshape(network, x, shape, at=node)
    y = network.call(aten.expand.default, reshape(network, x, tuple(apart), at=node), wide, at=node)
    return reshape(network, y, shape_of(node), at=node)


def _pair(value: Any) -> list[int]:
    if isinstance(value, int):
        return [value, value]
    values = [int(one) for one in value]
    return values * 2 if len(values) == 1 else values
