"""Matrix products of higher rank as batches: (..., M, K) times (..., K, N) with one batch axis.

A product of stacks of matrices is the product of each pair of them, in whichever axes they are
stacked; with one axis it is PyTorch's `bmm`. Applies where both operands have the same batch axes.

ExecuTorch spells a product of rank 4 with expansions, which its XNNPACK delegate does not take,
and a product of rank 3 without. Our own lowering has no use for this, nor does it mind.
"""

from __future__ import annotations

import math

import torch
from torch.fx import Node

from .canonical import reshape
from .network import Network, shape_of

aten = torch.ops.aten


def apply(network: Network) -> int:
    return sum(_batched(network, node) for node in network.calls(aten.matmul.default))


def _batched(network: Network, product: Node) -> bool:
    a, b = product.args
    assert isinstance(a, Node) and isinstance(b, Node)
    batch = shape_of(product)[:-2]
    if len(batch) < 2 or shape_of(a)[:-2] != batch or shape_of(b)[:-2] != batch:
        return False
    a, b = (
        reshape(network, one, (math.prod(batch), *shape_of(one)[-2:]), at=product) for one in (a, b)
    )
    y = network.call(aten.matmul.default, a, b, at=product)
    network.replace(product, reshape(network, y, shape_of(product), at=product))
    return True
