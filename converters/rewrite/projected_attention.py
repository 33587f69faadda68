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
from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Product:
    """Attention (*axes, d, d) times values (*axes, d, N); heads are axes that the layer sums over.

    The layer's output has one position for each batch, the other axes, and each of the N.
    """

    node: Node
    heads: list[int]

    @property
    def shape(self) -> tuple[int, ...]:
        return shape_of(self.node)

    @property
    def rows(self) -> int:
        """The axis of a head's channels; positions are the one behind it."""
        return len(self.shape) - 2

    @property
    def batch(self) -> list[int]:
        return [axis for axis in range(self.rows) if axis not in self.heads]

    @property
    def count(self) -> int:
        return math.prod(self.shape[axis] for axis in self.batch)

    @property
    def positions(self) -> int:
        return self.shape[-1]

    def channels_last(self, network: Network, values: Node) -> Node:
        """Values (*axes, d, N) as (batch, N, C)."""
        order = [*self.batch, self.rows + 1, *self.heads, self.rows]
        values = permute(network, values, order, at=self.node)
        return reshape(network, values, (self.count, self.positions, -1), at=self.node)

    def heads_joined(self, network: Network, matrices: Node) -> Node:
        """Matrices (*axes, d, C') as (batch, C, C')."""
        order = [*self.batch, *self.heads, self.rows, self.rows + 1]
        width = shape_of(matrices)[-1]
        matrices = permute(network, matrices, order, at=self.node)
        return reshape(network, matrices, (self.count, -1, width), at=self.node)


def _merged(network: Network, layer: Node) -> bool:
    read = reading(layer.args[0])  # type: ignore[arg-type]
    product = _product(read, layer)
    if product is None:
        return False
    attention, values = product.node.args
    assert isinstance(attention, Node) and isinstance(values, Node)
    at = product.node
    order = [*range(product.rows), product.rows + 1, product.rows]
    transposed = permute(network, attention, order, at=at)
    weight = _by_head(network, layer, read, product)
    matrix = network.call(aten.matmul.default, transposed, weight, at=at)
    y = network.call(
        aten.matmul.default,
        product.channels_last(network, values),
        product.heads_joined(network, matrix),
        at=at,
    )
    bias = layers.bias_of(network, layer)
    if bias is not None:
        constant = network.like(bias, argument(layer, 2, "bias"), before=at)
        y = network.call(aten.add.Tensor, y, constant, at=at)
    if layer.target is aten.conv2d.default:  # channels before positions
        y = permute(network, y, [0, 2, 1], at=at)
    network.replace(layer, reshape(network, y, shape_of(layer), at=at))
    return True


def _product(read: Reading, layer: Node) -> _Product | None:
    """The product that a layer alone reads, if it pays to have the layer in its first operand."""
    node = read.source
    if node.target is not aten.matmul.default or [one for one, _, _ in readers(node)] != [layer]:
        return None
    attention, values = (shape_of(operand) for operand in node.all_input_nodes)
    heads = _heads(read, layers.input_axis(layer))
    if heads is None or attention[:-2] != values[:-2] or attention[:-2] != shape_of(node)[:-2]:
        return None
    product = _Product(node, heads)
    width = shape_of(layer)[layers.channel_axis(layer)]
    whole = math.prod(shape_of(layer)) == product.count * product.positions * width  # no stride
    return product if whole and product.positions > width else None


def _heads(read: Reading, channel: int) -> list[int] | None:
    """The batch axes of a product that the channels of its reader count, together with its rows.

    None where the reader's positions are not the product's batches and columns, in that order.
    """
    shape = shape_of(read.source)
    rows, columns = len(shape) - 2, len(shape) - 1
    counted = {digit.axis for digit in read.axes[channel]}
    heads = [axis for axis in range(rows) if axis in counted]
    once = math.prod(shape_of(read.value)) == math.prod(shape)
    if counted != {*heads, rows} or not once or not all(map(read.read_in_full, counted)):
        return None
    positions = [axis for axis in range(columns + 1) if axis not in counted]
    expected = tuple(Digit(axis, 1, shape[axis]) for axis in positions if shape[axis] > 1)
    others = [axis for axis in range(len(read.axes)) if axis != channel]
    return heads if read.digits(others) == expected else None


def _by_head(network: Network, layer: Node, read: Reading, product: _Product) -> Node:
    """The layer's weight (C', C) as (*axes, d, C'), the same for each batch."""
    weight = layers.weight_of(network, layer).flatten(1)
    width, channels = weight.shape
    counted = [*product.heads, product.rows]
    by_head = torch.zeros(*(product.shape[axis] for axis in counted), width, dtype=weight.dtype)
    places = (read.index(axis).flatten().expand(channels) for axis in counted)
    by_head[tuple(places)] = weight.T
    sides = [product.shape[axis] if axis in counted else 1 for axis in range(product.rows + 1)]
    by_head = by_head.reshape(*sides, width).expand(*product.shape[:-1], width)
    old = layer.args[1]
    assert isinstance(old, Node)
    return network.like(by_head, old, before=product.node)
