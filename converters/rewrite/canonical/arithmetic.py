"""Rules for what works number by number."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from ..network import Network, argument, dtype_of, shape_of
from .rules import rule
from .views import sliced

aten = torch.ops.aten

_BINARY: dict[Any, Any] = {
    aten.add.Tensor: aten.add.Tensor,
    aten.add.Scalar: aten.add.Tensor,
    aten.sub.Tensor: aten.sub.Tensor,
    aten.sub.Scalar: aten.sub.Tensor,
    aten.subtract.Tensor: aten.sub.Tensor,
    aten.rsub.Scalar: aten.sub.Tensor,
    aten.rsub.Tensor: aten.sub.Tensor,
    aten.mul.Tensor: aten.mul.Tensor,
    aten.mul.Scalar: aten.mul.Tensor,
    aten.multiply.Tensor: aten.mul.Tensor,
    aten.div.Tensor: aten.div.Tensor,
    aten.div.Scalar: aten.div.Tensor,
    aten.divide.Tensor: aten.div.Tensor,
    aten.true_divide.Tensor: aten.div.Tensor,
    aten.maximum.default: aten.maximum.default,
    aten.minimum.default: aten.minimum.default,
}


@rule(*_BINARY)
def _binary(network: Network, node: Node) -> Node:
    target = _BINARY[node.target]
    a: Any
    b: Any
    a, b = node.args[:2]
    if node.target in (aten.rsub.Scalar, aten.rsub.Tensor):
        a, b = b, a
    alpha = argument(node, 2, "alpha", 1)
    b = _times(network, b, alpha, at=node) if isinstance(b, Node) else b * alpha
    a, b = _unexpanded(node, a, b)
    if target is aten.mul.Tensor and a is b:
        return _product(network, a, b, at=node)
    if not isinstance(a, Node):  # a number, which converters take only in the second place
        if target in (aten.add.Tensor, aten.mul.Tensor):
            a, b = b, a
        else:
            a = _number(network, a, at=node)
    if (a, b) == node.args and node.target is target and not node.kwargs:
        return node
    return network.call(target, a, b, at=node)


def _times(network: Network, x: Any, factor: Any, *, at: Node) -> Node:
    return x if factor == 1 else network.call(aten.mul.Tensor, x, factor, at=at)


def _product(network: Network, a: Any, b: Any, *, at: Node) -> Node:
    if a is b:
        return network.call(aten.pow.Tensor_Scalar, a, 2, at=at)
    return network.call(aten.mul.Tensor, a, b, at=at)


def _number(network: Network, value: float, *, at: Node) -> Node:
    """A constant of the type of `at`."""
    dtype = dtype_of(at)
    return network.constant(torch.tensor(value, dtype=dtype), before=at, dtype=dtype)


def _unexpanded(node: Node, *operands: Any) -> list[Any]:
    """The operands without an expansion that broadcasting makes anyway."""
    result = list(operands)
    for i, one in enumerate(operands):
        if isinstance(one, Node) and one.target is aten.expand.default:
            without = [*result[:i], one.args[0], *result[i + 1 :]]
            shapes = [shape_of(x) for x in without if isinstance(x, Node)]
            if torch.broadcast_shapes(*shapes) == shape_of(node):
                result = without
    return result


@rule(aten.addcmul.default, aten.addcdiv.default)
def _add_product(network: Network, node: Node) -> Node:
    x, a, b = node.args
    if node.target is aten.addcmul.default:
        product = _product(network, a, b, at=node)
    else:
        product = network.call(aten.div.Tensor, a, b, at=node)
    product = _times(network, product, node.kwargs.get("value", 1), at=node)
    return network.call(aten.add.Tensor, x, product, at=node)


@rule(aten.hardtanh.default, aten.relu6.default, aten.clamp_min.default, aten.clamp_max.default)
def _clamp(network: Network, node: Node) -> Node:
    low, high = {
        aten.hardtanh.default: (argument(node, 1, "min_val", -1), argument(node, 2, "max_val", 1)),
        aten.relu6.default: (0, 6),
        aten.clamp_min.default: (argument(node, 1, "min"), None),
        aten.clamp_max.default: (None, argument(node, 1, "max")),
    }[node.target]  # type: ignore[index]
    return network.call(aten.clamp.default, node.args[0], low, high, at=node)


@rule(aten.clamp.default)
def _clamp_from_zero(network: Network, node: Node) -> Node:
    low, high = argument(node, 1, "min"), argument(node, 2, "max")
    if high is None and low == 0:
        return network.call(aten.relu.default, node.args[0], at=node)
    return node


@rule(aten.clamp.Tensor, aten.clamp_min.Tensor, aten.clamp_max.Tensor)
def _clamp_by_tensors(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    low, high = argument(node, 1, "min"), argument(node, 2, "max")
    if node.target is aten.clamp_max.Tensor:
        low, high = None, argument(node, 1, "max")
    if low is not None:
        x = network.call(aten.maximum.default, x, low, at=node)
    return x if high is None else network.call(aten.minimum.default, x, high, at=node)


@rule(aten.reciprocal.default)
def _reciprocal(network: Network, node: Node) -> Node:
    one = _number(network, 1, at=node)
    return network.call(aten.div.Tensor, one, node.args[0], at=node)


@rule(aten.square.default)
def _square(network: Network, node: Node) -> Node:
    return network.call(aten.pow.Tensor_Scalar, node.args[0], 2, at=node)


@rule(aten.pow.Tensor_Scalar)
def _power(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    exponent: Any = node.args[1]
    if not dtype_of(x).is_floating_point:
        return node
    if exponent == 1:
        return x
    if exponent in (0.5, -0.5):
        root = aten.sqrt.default if exponent > 0 else aten.rsqrt.default
        return network.call(root, x, at=node)
    if exponent in (3, 4):
        square = network.call(aten.pow.Tensor_Scalar, x, 2, at=node)
        if exponent == 4:
            return network.call(aten.pow.Tensor_Scalar, square, 2, at=node)
        return network.call(aten.mul.Tensor, square, x, at=node)
    return node


@rule(aten.prelu.default)
def _prelu(network: Network, node: Node) -> Node:
    """max(x, 0) + slope min(x, 0), the slope one for each channel."""
    x: Any = node.args[0]
    slope: Any = node.args[1]
    channels = shape_of(slope)[0]
    if channels > 1:
        shape = [channels] + [1] * (len(shape_of(x)) - 2)
        slope = network.call(aten.reshape.default, slope, shape, at=node)
    below = network.call(aten.clamp.default, x, None, 0, at=node)
    below = network.call(aten.mul.Tensor, below, slope, at=node)
    return network.call(
        aten.add.Tensor, network.call(aten.relu.default, x, at=node), below, at=node
    )


@rule(aten.glu.default)
def _glu(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    axis = argument(node, 1, "dim", -1) % len(shape_of(x))
    side = shape_of(x)[axis]
    value = sliced(network, x, axis, 0, side // 2, at=node)
    gate = sliced(network, x, axis, side // 2, side, at=node)
    gate = network.call(aten.sigmoid.default, gate, at=node)
    return network.call(aten.mul.Tensor, value, gate, at=node)
