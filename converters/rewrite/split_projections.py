"""A projection that is only read in parts, as a projection for each part.

    slice(W x + b) = slice(W) x + slice(b)

for slices along the output's channels, however reshaped and permuted on the way: the projection of
queries, keys and values in one linear layer or 1x1 convolution becomes three. Applies where every
reader's path has a slice that keeps some channels and everything else, and no channel is in two
different parts. Rows that nobody reads go.

The slices were copies, and those along a new axis (`qkv[0]`, after a permutation) copies of all of
it in another order. Three products of matrices take as long as the one did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from . import layers
from .network import Network, shape_of
from .readings import VIEWS, Reading, reading

aten = torch.ops.aten


def apply(network: Network) -> int:
    waiting = network.calls(aten.linear.default, aten.conv2d.default)
    count = 0
    while waiting:
        layer = waiting.pop()
        if layers.is_layer(network, layer) and layers.is_pointwise(layer):
            own = _split(network, layer)
            count += bool(own)
            waiting += own  # a part may be read in parts itself
    return count


@dataclass(frozen=True)
class _Part:
    """A slice of a layer's output and the rows that make it, in the order of its own layer."""

    reading: Reading
    rows: tuple[int, ...]


def _split(network: Network, layer: Node) -> list[Node]:
    """The layers of the parts; none where the layer stays."""
    axis = layers.channel_axis(layer)
    parts = []
    for node in _slices(layer):
        part = _part(reading(node), layer, axis)
        if part is None:
            return []
        parts.append(part)
    kinds = {frozenset(part.rows) for part in parts}
    if sum(map(len, kinds)) > len(frozenset().union(*kinds)):
        return []

    made: dict[tuple[int, ...], Node] = {}
    for part in parts:
        if part.rows not in made:
            made[part.rows] = _with_rows(network, layer, part.rows)
        at = part.reading.value
        view = part.reading.rebuilt(network, made[part.rows], shape_of(at), at=at)
        network.replace(at, view)
    return list(made.values())


def _slices(layer: Node) -> list[Node]:
    """The first slice on each path from the layer; none where a path has none."""
    waiting, slices = [layer], []
    while waiting:
        for user in waiting.pop().users:
            if user.target is aten.slice.Tensor:
                slices.append(user)
            elif user.target in VIEWS:
                waiting.append(user)
            else:
                return []
    return slices


def _part(one: Reading, layer: Node, axis: int) -> _Part | None:
    """None where the slice takes away more than channels, or cannot be followed."""
    if one.source is not layer:
        return None
    rows = one.covered(axis).nonzero().flatten().tolist()
    positions = [side for i, side in enumerate(shape_of(layer)) if i != axis]
    # Each number of these rows at each position, and once.
    if not all(one.read_in_full(i) for i in range(len(one.start)) if i != axis):
        return None
    if math.prod(shape_of(one.value)) != len(rows) * math.prod(positions):
        return None
    return _Part(one, tuple(rows))


def _with_rows(network: Network, layer: Node, rows: Sequence[int]) -> Node:
    def chosen(constant: Tensor | None) -> Tensor | None:
        return None if constant is None else constant[list(rows)]

    weight = chosen(layers.weight_of(network, layer))
    assert weight is not None
    bias = chosen(layers.bias_of(network, layer))
    return layers.with_rows(network, layer, weight, bias, at=layer)
