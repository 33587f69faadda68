"""A layer norm's weight and bias in the layers that read it.

    W (g n + b) + c = (W g) n + (W b + c)

Applies where all readers are linear layers or convolutions: the columns of each are scaled, and its
bias takes up what it makes of the norm's. Reshapes, permutations, slices and means over positions
may lie between. Convolutions that pad with zeros take the weight, in g (n + b/g), and leave a bias.
"""

from __future__ import annotations

import torch
from torch.fx import Node

from .folding import ONE, ZERO, Affine, fold_most_behind
from .network import Network, dtype_of

aten = torch.ops.aten


def apply(network: Network) -> int:
    return sum(_folded(network, node) for node in network.calls(aten.layer_norm.default))


def _folded(network: Network, node: Node) -> bool:
    x, sizes, weight, bias, eps = node.args
    scale = ONE if weight is None else network.value(weight)
    shift = ZERO if bias is None else network.value(bias)
    if (weight is None and bias is None) or scale is None or shift is None:
        return False
    affine = Affine(scale, shift)
    left = fold_most_behind(network, node, affine)
    if left is affine:
        return False
    rest = None
    if bool(left.shift.any()):
        rest = network.constant(left.shift, before=node, dtype=dtype_of(node), name=node.name)
    plain = network.call(node.target, x, sizes, None, rest, eps, at=node)  # type: ignore[arg-type]
    network.replace(node, plain)
    return True
