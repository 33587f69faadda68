"""Constant factors and summands in the weights of the layer before or behind them.

    s (W x + b) + t = (s W) x + (s b + t)        W (s x + t) + b = (W s) x + (W t + b)
    (x + t) + (W y + b) = x + (W y + (b + t))    W ((x + t) + y) + b = W (x + y) + (W t + b)

Layer scale, a scale on queries, the scale and bias of an activation: products, quotients, sums and
differences with a constant that has one value for each channel. They go into the linear layer or
convolution before them, whose channels nobody else may read; else into those behind, if there is
nothing but such layers (and, for a summand, none that pads with zeros). A summand that stays goes
on into the layer on the other side of a sum that alone reads it, or behind that.
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
    """Moves a summand out of a sum: into the layer of the other operand, or behind the sum."""
    if bool((affine.scale != 1).any()):
        return False
    (reader, value, read), *more = readers(node)
    if more or read is None or reader.target not in (aten.add.Tensor, aten.sub.Tensor):
        return False
    x, y = reader.args
    if x is y or shape_of(value) != shape_of(reader):
        return False
    shift = read.of_source(affine.shift)
    in_sum = -shift if reader.target is aten.sub.Tensor and value is y else shift
    other = x if value is y else y
    if isinstance(other, Node) and shape_of(other) == shape_of(reader):
        in_other = -in_sum if reader.target is aten.sub.Tensor and other is y else in_sum
        if fold_into(network, reader, other, Affine(ONE, in_other)):
            return True
    return fold_behind(network, reader, Affine(ONE, in_sum))
