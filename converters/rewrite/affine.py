"""Constant factors and summands in the weights of the layer before or behind them.

    s (W x + b) + t = (s W) x + (s b + t)        W (s x + t) + b = (W s) x + (W t + b)
    (x + t) + (W y + b) = x + (W y + (b + t))

Layer scale, a scale on queries, the scale and bias of an activation: products, quotients, sums and
differences with a constant that has one value for each channel. They go into the linear layer or
convolution before them, whose channels nobody else may read; else into those behind, if there is
nothing but such layers (and, for a summand, none that pads with zeros). A summand that stays goes
on into the layer on the other side of a sum that alone reads it.
"""

from __future__ import annotations

import torch
from torch.fx import Node

from .folding import AFFINE, ONE, Affine, affine_of, fold_before, fold_behind, fold_into
from .network import Network, shape_of
from .readings import readers

aten = torch.ops.aten


def apply(network: Network) -> int:
    count = 0
    for node in network.calls(*AFFINE):
        found = affine_of(network, node)
        if found is not None:
            count += fold_before(network, node, *found)
    for node in reversed(network.calls(*AFFINE)):
        found = affine_of(network, node)
        if found is None:
            continue
        x, affine = found
        if fold_behind(network, node, affine) or _fold_across_sum(network, node, affine):
            network.replace(node, x)
            count += 1
    return count


def _fold_across_sum(network: Network, node: Node, affine: Affine) -> bool:
    """Moves a summand into the layer that makes the other operand of a sum."""
    if bool((affine.scale != 1).any()):
        return False
    (reader, value, read), *more = readers(node)
    if more or read is None or reader.target not in (aten.add.Tensor, aten.sub.Tensor):
        return False
    other = next((one for one in reader.args if one is not value), None)
    if not isinstance(other, Node) or not shape_of(value) == shape_of(other) == shape_of(reader):
        return False
    shift = read.of_source(affine.shift)
    is_negative = reader.target is aten.sub.Tensor
    return fold_into(network, reader, other, Affine(ONE, -shift if is_negative else shift))
