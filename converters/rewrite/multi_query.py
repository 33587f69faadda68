"""Heads that share one key or value, as more rows of one matrix product.

A product that repeats its second operand for each head,

    q (B, h, N, K) times k^T (B, 1, K, M)  =  q' (B, N*h, K) times k^T (B, K, M),

is one product of all heads' rows; the rows lie position by position, heads side by side, which is
how a projection makes them. Applies to matrix products whose second operand has size 1, or is
expanded, on a batch axis on which the first has not: multi-query attention (arXiv 1911.02150). A
softmax over the columns and factors between two such products work on the rows as they lie.

The second operand is not copied for each head, and larger products run closer to the peak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.fx import Node

from .canonical import permute, reshape
from .network import Network, only_reader, shape_of
from .readings import reading

aten = torch.ops.aten


def apply(network: Network) -> int:
    return sum(_folded(network, node) for node in network.calls(aten.matmul.default))


@dataclass(frozen=True)
class _Fold:
    """A product's sizes, and which of its batch axes become rows."""

    shape: tuple[int, ...]
    heads: tuple[int, ...]

    @property
    def batch(self) -> tuple[int, ...]:
        """The sizes of the other batch axes."""
        sides = enumerate(self.shape[:-2])
        return tuple(side for axis, side in sides if axis not in self.heads) or (1,)

    @property
    def order(self) -> list[int]:
        """Of all axes: batches, position, heads, columns."""
        rows = len(self.shape) - 2
        others = [axis for axis in range(rows) if axis not in self.heads]
        return [*others, rows, *self.heads, rows + 1]

    def folded(self, network: Network, a: Node, *, at: Node) -> Node:
        """(batch, heads, N, K) as (batch, N*heads, K)."""
        a = permute(network, a, self.order, at=at)
        return reshape(network, a, (*self.batch, self._rows, shape_of(a)[-1]), at=at)

    def unfolded(self, network: Network, y: Node, *, at: Node) -> Node:
        """(batch, N*heads, M) as (batch, heads, N, M)."""
        y = reshape(network, y, tuple(self.shape[axis] for axis in self.order), at=at)
        back = [self.order.index(axis) for axis in range(len(self.shape))]
        return permute(network, y, back, at=at)

    @property
    def _rows(self) -> int:
        return math.prod(self.shape[:-1]) // math.prod(self.batch)


def _folded(network: Network, product: Node) -> bool:
    a, b = product.args
    assert isinstance(a, Node) and isinstance(b, Node)
    shape = shape_of(product)
    read = reading(b)
    sides = tuple(
        1 if repeats else side for side, repeats in zip(shape_of(b), read.expanded, strict=True)
    )
    sides = (1,) * (len(shape) - len(sides)) + sides
    heads = tuple(i for i, side in enumerate(shape[:-2]) if side > 1 and sides[i] == 1)
    if not heads or shape_of(a) != (*shape[:-1], sides[-2]) or any(read.expanded[-2:]):
        return False
    fold = _Fold(shape, heads)
    one = (*fold.batch, *sides[-2:])
    if any(read.expanded):
        once = math.prod(sides) == math.prod(shape_of(read.source))
        if not once or not all(map(read.read_in_full, range(len(read.start)))):
            return False
        right = read.rebuilt(network, read.source, one, at=product)
    else:
        right = reshape(network, b, one, at=product)
    left = fold.folded(network, a, at=product)
    y = network.call(aten.matmul.default, left, right, at=product)
    last = product
    while (reader := only_reader(last)) is not None and _keeps_rows(reader):
        operand = len(shape_of(y)) - 1 if reader.target is aten.softmax.int else reader.args[1]
        y = network.call(reader.target, y, operand, at=reader)  # type: ignore[arg-type]
        last = reader
    network.replace(last, fold.unfolded(network, y, at=last))
    return True


def _keeps_rows(node: Node) -> bool:
    """Whether a node works on each row by itself, and on all in the same way."""
    if node.target is aten.softmax.int:
        return bool(node.args[1] == len(shape_of(node)) - 1)
    scales = node.target in (aten.mul.Tensor, aten.div.Tensor)
    return scales and isinstance(node.args[1], int | float)
