"""Batch norm as part of the layer before or behind it.

    bn(x) = s x + t    with  s = weight / sqrt(var + eps),  t = bias - mean * s

In eval mode a batch norm is a factor and a summand for each channel. They go into the convolution
or linear layer before it, whose channels nobody else may read; else into those behind it, if there
is nothing but such layers; else they are a product and a sum. Convolutions behind it that pad with
zeros take the factor, in s (x + t/s), and leave a sum.
Reshapes and permutations may lie between, as where tokens are flattened for a BatchNorm1d.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from .folding import Affine, applied, fold_before, fold_most_behind
from .network import Network, shape_of

aten = torch.ops.aten


def apply(network: Network) -> int:
    return sum(_folded(network, node) for node in network.calls(aten.batch_norm.default))


def _folded(network: Network, node: Node) -> bool:
    affine, x = _affine(network, node), node.args[0]
    assert isinstance(x, Node)
    if affine is None:
        return False
    if fold_before(network, node, x, affine):
        return True
    left = fold_most_behind(network, node, affine)
    network.replace(node, applied(network, left, x, at=node))
    return True


def _affine(network: Network, node: Node) -> Affine | None:
    """None where statistics are of the batch, or not constant."""
    eps: Any
    _, weight, bias, mean, var, is_of_batch, _, eps, _ = node.args
    operands = (mean, var, 1.0 if weight is None else weight, 0.0 if bias is None else bias)
    values = [value for one in operands if (value := network.value(one)) is not None]
    if is_of_batch or len(values) < len(operands):
        return None
    m, v, g, b = values
    scale = g / torch.sqrt(v + eps)
    shape = [-1] + [1] * (len(shape_of(node)) - 2)
    return Affine(scale.reshape(shape), (b - m * scale).reshape(shape))
