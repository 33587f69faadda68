"""Layer norm spelled with operators that every runtime has.

    y = d / sqrt(mean(d^2) + eps) * weight + bias    with  d = x - mean(x)

ExecuTorch's XNNPACK delegate has no layer norm: each one left in the graph ends a delegate. The
variance is that of the differences, not mean(x^2) - mean(x)^2, which loses digits where the mean is
large. A norm over channels and positions takes the mean over positions first, then over channels:
means of means over equal counts, and nothing is as long as the map.
"""

from __future__ import annotations

import torch
from torch.fx import Node

from .network import Network, shape_of

aten = torch.ops.aten


def apply(network: Network) -> int:
    norms = network.calls(aten.layer_norm.default)
    for node in norms:
        x = node.args[0]
        assert isinstance(x, Node)
        d = network.call(aten.sub.Tensor, x, _mean(network, x, node), at=node)
        network.replace(node, normalised(network, d, node))
    return len(norms)


def normalised(network: Network, d: Node, norm: Node) -> Node:
    """What a layer norm makes of its operand, from the differences of that to its mean."""
    _, _, weight, bias, eps = norm.args
    variance = _mean(network, network.call(aten.pow.Tensor_Scalar, d, 2, at=norm), norm)
    shifted = network.call(aten.add.Tensor, variance, eps, at=norm)
    inverse = network.call(aten.rsqrt.default, shifted, at=norm)
    y = network.call(aten.mul.Tensor, d, inverse, at=norm)
    for target, operand in ((aten.mul.Tensor, weight), (aten.add.Tensor, bias)):
        if operand is not None:
            y = network.call(target, y, operand, at=norm)
    return y


def _mean(network: Network, x: Node, norm: Node) -> Node:
    """The mean over the axes that the norm normalises."""
    rank = len(shape_of(x))
    first, *positions = range(rank - len(norm.args[1]), rank)  # type: ignore[arg-type]
    if positions:
        x = network.call(aten.mean.dim, x, positions, True, at=norm)
    return network.call(aten.mean.dim, x, [first], True, at=norm)
