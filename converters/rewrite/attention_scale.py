"""A constant factor on queries, keys or logits, in the weights that make one of them.

    c (q k^T) = (c q) k^T = q (c k)^T        c (W x + b) = (c W) x + c b

A factor on an operand of a matrix product goes into the rows of the linear layer or convolution
behind that operand, one on a product into the layer behind the first operand or, failing that, the
second. It may differ between channels, on a product between batches (heads), as long as each row
gets one factor. Reshapes, permutations and slices may lie between; the rows have to be read by
nobody else. A factor on a product none of whose operands comes from such a layer moves to the
smaller operand where that is smaller than the product.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.fx import Node

from .folding import Affine, fold_into
from .network import Network, dtype_of, shape_of
from .readings import constant_of, readers, reading, without_repeats

aten = torch.ops.aten


def apply(network: Network) -> int:
    return sum(_moved(network, node) for node in network.calls(aten.mul.Tensor, aten.div.Tensor))


def _moved(network: Network, node: Node) -> bool:
    place, factor = _factor(network, node)
    if factor is None:
        return False
    x = node.args[place]
    assert isinstance(x, Node)
    if not (
        _off_operand(network, node, x, factor)
        or _across_product(network, node, factor)
        or _off_product(network, node, x, factor)
    ):
        return False
    # Whatever took the factor has another node now.
    network.replace(node, node.args[place])  # type: ignore[arg-type]
    return True


def _factor(network: Network, node: Node) -> tuple[int, Tensor | None]:
    """The place of the value that a node multiplies by a constant, and the constant."""
    constants = [constant_of(network, one) for one in node.args]
    place = 0 if constants[0] is None else 1
    constant, value = constants[1 - place], node.args[place]
    if constant is None or constants[place] is not None or not isinstance(value, Node):
        return place, None
    if node.target is aten.div.Tensor:
        constant = 1 / constant if place == 0 else None
    if shape_of(value) != shape_of(node) or not value.meta["val"].is_floating_point():
        return place, None
    return place, constant


def _takes(network: Network, reader: Node, value: Node, factor: Tensor) -> bool:
    """Multiplies what a node reads in the layer behind it, if that can be."""
    return fold_into(network, reader, value, Affine(factor, torch.zeros((), dtype=torch.float64)))


def _off_operand(network: Network, node: Node, x: Node, factor: Tensor) -> bool:
    multiplied = any(reader.target is aten.matmul.default for reader in _readers(node))
    return multiplied and _takes(network, node, x, factor)


def _across_product(network: Network, node: Node, factor: Tensor) -> bool:
    """From one operand of a product to the layer behind the other, where it is one number."""
    product, *more = _readers(node)
    if more or product.target is not aten.matmul.default or factor.numel() != 1:
        return False
    others = [value for value in _operands(product) if reading(value).source is not node]
    return len(others) == 1 and _takes(network, product, others[0], factor.reshape(()))


def _off_product(network: Network, node: Node, x: Node, factor: Tensor) -> bool:
    read = reading(x)
    product = read.source
    if product.target is not aten.matmul.default or _readers(product) != [node]:
        return False
    by_batch = read.by_source(factor, range(len(shape_of(product)) - 2))
    if by_batch is None:
        return False
    by_batch = without_repeats(by_batch.nan_to_num(1.0)[..., None, None])
    fitting = [
        value
        for value in _operands(product)
        if _broadcasts(by_batch, value) and constant_of(network, value) is None
    ]
    if any(_takes(network, product, value, by_batch) for value in fitting):
        return True
    smaller = min(fitting, key=_size, default=product)
    if _size(smaller) >= _size(product):
        return False
    constant: Node | float = (
        by_batch.item()
        if by_batch.numel() == 1
        else network.constant(by_batch, before=product, dtype=dtype_of(product), name="scale")
    )
    scaled = network.call(aten.mul.Tensor, smaller, constant, at=product)
    a, b = _operands(product)
    a, b = (scaled, b) if a is smaller else (a, scaled)
    network.replace(product, network.call(aten.matmul.default, a, b, at=product))
    return True


def _readers(value: Node) -> list[Node]:
    return [reader for reader, _, _ in readers(value)]


def _operands(product: Node) -> tuple[Node, Node]:
    a, b = product.args
    assert isinstance(a, Node) and isinstance(b, Node)
    return a, b


def _size(value: Node) -> int:
    return math.prod(shape_of(value))


def _broadcasts(values: Tensor, value: Node) -> bool:
    shape = shape_of(value)
    return torch.broadcast_shapes(values.shape, shape) == torch.Size(shape)
