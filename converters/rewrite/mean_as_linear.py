"""The mean over channels as a linear layer with one row.

    mean(x) + c = W x + c    with  W = (1/C, ..., 1/C)

A number that is added to the mean, such as a norm's epsilon, is the layer's bias. Applies to means
over the last axis, or over axis 1 of a map (B, C, H, W). ExecuTorch's XNNPACK delegate has no mean
but that over both sides of a map.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from .canonical import permute
from .folding import affine_of, fold_before
from .network import Network, dtype_of, only_reader, shape_of

aten = torch.ops.aten


def apply(network: Network) -> int:
    return sum(_replaced(network, node) for node in network.calls(aten.mean.dim))


def _replaced(network: Network, node: Node) -> bool:
    x: Any = node.args[0]
    axes: Any = node.args[1]
    rank = len(shape_of(x))
    if axes != [rank - 1] and (rank, axes) != (4, [1]):
        return False
    axis = axes[0]
    order = [i for i in range(rank) if i != axis] + [axis]
    row = torch.full((1, shape_of(x)[axis]), 1 / shape_of(x)[axis], dtype=torch.float64)
    weight = network.constant(row, before=node, dtype=dtype_of(node), name=node.name)
    last = permute(network, x, order, at=node)
    mean = network.call(aten.linear.default, last, weight, at=node)
    mean = permute(network, mean, [order.index(i) for i in range(rank)], at=node)
    network.replace(node, mean)
    reader = only_reader(mean)
    if reader is not None and reader.target is aten.add.Tensor:
        found = affine_of(network, reader)
        if found is not None:
            fold_before(network, reader, *found)
    return True
