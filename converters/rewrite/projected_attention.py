"""The output projection of attention between channels, in its attention matrix.

    sum_h W_h (A_h v_h) = sum_h (W_h A_h) v_h = M v

for heads h, attention matrices A_h (d, d), values v_h (d, N) and the columns W_h (C', d) of the
linear layer or 1x1 convolution that reads all heads. M (C', C) takes C d C' multiplications to make
and C d N fewer to use, so it is worth it for more positions than channels, N > C'. M^T and v^T are
products as they lie in memory, where A v would want the values of each head apart, and give them
back in that order: two copies go.
"""

from __future__ import annotations

import math

import torch
from torch.fx import Node

from . import layers
from .canonical import permute, reshape
from .network import Network, argument, shape_of
from .readings import Digit, Reading, readers, reading

aten = torch.ops.aten


def apply(network: Network) -> int:
    return sum(
        _merged(network, node)
        for node in network.calls(aten.linear.default, aten.conv2d.default)
        if layers.is_layer(network, node) and layers.is_pointwise(node)
    )


def _merged(network: Network, layer: Node) -> bool:
    read = reading(layer.args[0])  # type: ignore[arg-type]
    product = read.source
    if product.target is not aten.matmul.default:
        return False
    attention, values = product.args
    assert isinstance(attention, Node) and isinstance(values, Node)
    shape = shape_of(product)
    plain = shape_of(attention)[:-1] == shape[:-1] and shape_of(values)[:-2] == shape[:-2]
    heads = _heads(read, layers.input_axis(layer))
    width = shape_of(layer)[layers.channel_axis(layer)]
    if not plain or heads is None or shape[-1] <= width:
        return False
    if [reader for reader, _, _ in readers(product)] != [layer]:
        return False

    batch = [axis for axis in range(len(shape) - 2) if axis not in heads]
    rows, positions = len(shape) - 2, len(shape) - 1
    count = math.prod(shape[axis] for axis in batch)
    channels = math.prod(shape[axis] for axis in heads) * shape_of(values)[rows]
    if math.prod(shape_of(layer)) != count * shape[positions] * width:  # it has a stride
        return False
    weight = _by_head(network, layer, read, heads)
    transposed = permute(network, attention, [*range(rows), positions, rows], at=product)
    merged = network.call(aten.matmul.default, transposed, weight, at=product)
    merged = permute(network, merged, [*batch, *heads, rows, positions], at=product)
    merged = reshape(network, merged, (count, channels, width), at=product)
    values = permute(network, values, [*batch, positions, *heads, rows], at=product)
    values = reshape(network, values, (count, shape[positions], channels), at=product)
    y = network.call(aten.matmul.default, values, merged, at=product)
    bias, old = layers.bias_of(network, layer), argument(layer, 2, "bias")
    if bias is not None:
        constant = network.like(bias, old, before=product)
        y = network.call(aten.add.Tensor, y, constant, at=product)
    if layer.target is aten.conv2d.default:  # channels before positions
        y = permute(network, y, [0, 2, 1], at=product)
    network.replace(layer, reshape(network, y, shape_of(layer), at=product))
    return True


def _heads(read: Reading, channel: int) -> list[int] | None:
    """The batch axes of a product that the channels of its reader count, together with its rows.

    None where the reader's positions are not the product's batches and columns, in that order.
    """
    shape = shape_of(read.source)
    rows, columns = len(shape) - 2, len(shape) - 1
    counted = {digit.axis for digit in read.axes[channel]}
    heads = [axis for axis in range(rows) if axis in counted]
    if counted != {*heads, rows}:
        return None
    sides = [read.read_in_full(axis) for axis in counted]
    if not all(sides) or math.prod(shape_of(read.value)) != math.prod(shape):
        return None
    positions = [axis for axis in range(columns + 1) if axis not in counted]
    expected = tuple(Digit(axis, 1, shape[axis]) for axis in positions if shape[axis] > 1)
    others = [axis for axis in range(len(read.axes)) if axis != channel]
    return heads if read.digits(others) == expected else None


def _by_head(network: Network, layer: Node, read: Reading, heads: list[int]) -> Node:
    """The layer's weight (C', C) as (*batch, rows of a head, C'), repeated where nothing counts."""
    shape = shape_of(read.source)
    rows = len(shape) - 2
    weight = layers.weight_of(network, layer).flatten(1)
    places = [read.index(axis).flatten() for axis in (*heads, rows)]
    sides = [shape[axis] for axis in (*heads, rows)]
    by_head = torch.zeros(*sides, len(weight), dtype=weight.dtype)
    by_head[tuple(place.expand(weight.shape[1]) for place in places)] = weight.T
    spread = [shape[axis] if axis in heads else 1 for axis in range(rows)]
    by_head = by_head.reshape(*spread, shape[rows], len(weight))
    by_head = by_head.expand(*shape[: rows + 1], len(weight))
    old = layer.args[1]
    assert isinstance(old, Node)
    return network.like(by_head, old, before=read.source)
