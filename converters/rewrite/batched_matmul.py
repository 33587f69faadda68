"""Matrix products as PyTorch's `bmm`: (B, M, K) times (B, K, N).

A product of stacks of matrices is the product of each pair of them, in whichever axes they are
stacked. Applies where both operands have the same batch axes, at least one.

`matmul` expands operands to a common batch, even where they have it, before it comes to the same
`bmm`, and ExecuTorch's XNNPACK delegate takes no expansions. Our own lowering has no use for this,
nor does it mind.
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
    if not batch or shape_of(a)[:-2] != batch or shape_of(b)[:-2] != batch:
        return False
    a, b = (
        reshape(network, one, (math.prod(batch), *shape_of(one)[-2:]), at=product) for one in (a, b)
    )
    y = network.call(aten.bmm.default, a, b, at=product)
    network.replace(product, reshape(network, y, shape_of(product), at=product))
    return True
