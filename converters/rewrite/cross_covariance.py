"""Attention between channels: lengths divided out of the logits, not out of queries and keys.

    (q / |q|) (k / |k|)^T = (q k^T) / (|q| |k|^T)

for vectors whose length is taken along the axis that the product sums over. Cross-covariance
attention (XCA, arXiv 2106.09681) normalises queries and keys, C x N numbers for C channels and N
positions, and has only d x d logits for each head: these are scaled in their place.

    1 / max(|x|, eps) = rsqrt(max(mean(x^2), eps^2 / N)) / sqrt(N)

with the mean over N positions, a pool, as a sum over them or a norm is in no delegate's schema. The
factors 1/sqrt(N) and a constant factor on the logits (a temperature) are multiplied into one of the
reciprocal lengths, which are C numbers. Applies to either operand by itself, where nobody else
reads the normalised one, there are fewer logits than numbers in it, and eps^2 / N is no less than
the type's smallest number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from .canonical import permute, reshape
from .network import Network, dtype_of, only_reader, shape_of
from .readings import constant_of

aten = torch.ops.aten


def apply(network: Network) -> int:
    return sum(_scaled_logits(network, node) for node in network.calls(aten.matmul.default))


@dataclass(frozen=True)
class _Normalised:
    """`quotient` is `value / max(|value|, eps)` along `axis`; the operand is its permutation."""

    quotient: Node
    value: Node
    eps: float
    axis: int
    order: list[int]

    @property
    def length(self) -> int:
        return shape_of(self.value)[self.axis]

    @property
    def smallest_mean(self) -> float:
        """Of the squares, which a length of eps has."""
        return self.eps**2 / self.length


def _scaled_logits(network: Network, product: Node) -> bool:
    if len(shape_of(product)) < 3:
        return False
    found = [one for place in (0, 1) if (one := _normalised(product, place)) is not None]
    found = [one for one in found if _size(one.value) > _size(product)]
    if not found:
        return False
    reciprocals = [_reciprocal_length(network, one, at=product) for one in found]
    factor = torch.tensor(math.prod(one.length**-0.5 for one in found), dtype=torch.float64)
    last = product
    temperature = _temperature(network, product, reciprocals[0])
    if temperature is not None:
        last, factor = temperature[0], factor * temperature[1]
    constant = network.constant(factor, before=product, dtype=dtype_of(product), name="temperature")
    reciprocals[0] = network.call(aten.mul.Tensor, reciprocals[0], constant, at=product)
    for one in found:
        network.replace(one.quotient, one.value)
    logits = network.call(aten.matmul.default, *product.args, at=product)
    for reciprocal in reciprocals:
        logits = network.call(aten.mul.Tensor, logits, reciprocal, at=product)
    network.replace(last, logits)
    return True


def _normalised(product: Node, place: int) -> _Normalised | None:
    """An operand of a product as what only this product reads and is normalised for it."""
    quotient: Any = product.args[place]
    if only_reader(quotient) is not product:
        return None
    order = list(range(len(shape_of(quotient))))
    if quotient.target is aten.permute.default:
        order = quotient.args[1]
        reader, quotient = quotient, quotient.args[0]
        if only_reader(quotient) is not reader:
            return None
    if quotient.target is not aten.div.Tensor or not isinstance(quotient.args[1], Node):
        return None
    value, divisor = quotient.args
    eps = 0.0
    if divisor.target is aten.clamp.default and divisor.args[2] is None:
        divisor, eps = divisor.args[0], max(float(divisor.args[1]), 0.0)
    axis = _axis_of_length(divisor, value)
    summed = len(order) - 1 if place == 0 else len(order) - 2
    if axis is None or order[summed] != axis or shape_of(quotient) != shape_of(value):
        return None
    one = _Normalised(quotient, value, eps, axis, order)
    is_lost = eps > 0 and one.smallest_mean < torch.finfo(dtype_of(value)).tiny
    return None if is_lost else one


def _axis_of_length(node: Any, value: Any) -> int | None:
    """The axis along which a node is sqrt(sum(value^2)); None if it is something else."""
    chain = []
    for target in (aten.sqrt.default, aten.sum.dim_IntList, aten.pow.Tensor_Scalar):
        if node.op != "call_function" or node.target is not target:
            return None
        chain.append(node)
        node = node.args[0]
    _, total, power = chain
    if node is not value or power.args[1] != 2 or len(total.args[1]) != 1:
        return None
    return int(total.args[1][0])


def _reciprocal_length(network: Network, one: _Normalised, *, at: Node) -> Node:
    """sqrt(N) / max(|value|, eps), as the operand lies, with size 1 on the axis summed over."""
    others = [axis for axis in range(len(one.order)) if axis != one.axis]
    sides = [shape_of(one.value)[axis] for axis in others]
    square = network.call(aten.pow.Tensor_Scalar, one.value, 2, at=at)
    square = permute(network, square, [*others, one.axis], at=at)
    as_map = reshape(network, square, (sides[0], math.prod(sides[1:]), one.length, 1), at=at)
    mean = network.call(aten.mean.dim, as_map, [2, 3], True, at=at)
    if one.eps:
        mean = network.call(aten.clamp.default, mean, one.smallest_mean, None, at=at)
    length = network.call(aten.rsqrt.default, mean, at=at)
    length = reshape(network, length, (*sides, 1), at=at)
    axes = [*others, one.axis]
    return permute(network, length, [axes.index(axis) for axis in one.order], at=at)


def _temperature(network: Network, product: Node, reciprocal: Node) -> tuple[Node, Tensor] | None:
    """The constant factor that alone reads the logits, if a reciprocal length can take it."""
    reader = only_reader(product)
    if reader is None or reader.target not in (aten.mul.Tensor, aten.div.Tensor):
        return None
    a, b = reader.args
    if b is product and reader.target is aten.mul.Tensor:
        a, b = b, a
    constant = constant_of(network, b)
    if a is not product or constant is None or shape_of(reader) != shape_of(product):
        return None
    shape = shape_of(reciprocal)
    if torch.broadcast_shapes(constant.shape, shape) != torch.Size(shape):
        return None
    return reader, constant if reader.target is aten.mul.Tensor else 1 / constant


def _size(value: Node) -> int:
    return math.prod(shape_of(value))
