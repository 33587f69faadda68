"""Layers side by side on one input, and that input itself beside them, as one layer.

    W x + x = (W + I) x        W x + (s x + t) = (W + diag(s)) x + t        W x + V x = (W + V) x

W is a linear layer or a convolution that nobody else reads; I is 1 on the tap at which a
convolution reads the position that it writes. Two convolutions are one if the taps of one are among
those of the other, and stride and groups are equal. A factor and a summand of a channel may stand
behind each of them.

So the shortcut around a depthwise convolution costs nothing, and a network in the form that it
was trained in (RepVGG, MobileOne, FastViT) is the one that it was published to be run as.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from . import layers
from .folding import AFFINE, NOTHING, Affine, affine_of
from .network import Network, only_reader, shape_of
from .readings import without_repeats

aten = torch.ops.aten


@dataclass(frozen=True)
class _Branch:
    """`affine` of a layer's result, or of `source` itself where there is no layer."""

    source: Node
    layer: Node | None = None
    affine: Affine = NOTHING


@dataclass(frozen=True)
class _Rows:
    """What a layer is to be: its rows and their bias, in double precision."""

    weight: Tensor
    bias: Tensor


def apply(network: Network) -> int:
    return sum(_merged(network, node) for node in network.calls(aten.add.Tensor, aten.sub.Tensor))


def _merged(network: Network, node: Node) -> bool:
    if not all(isinstance(one, Node) and shape_of(one) == shape_of(node) for one in node.args):
        return False
    operands: Any = node.args
    left, right = (_branch(network, one) for one in operands)
    if node.target is aten.sub.Tensor:
        right = _then(right, Affine(-NOTHING.scale, NOTHING.shift))
    if left.source is not right.source:
        return False
    for one, other in ((left, right), (right, left)):
        rows = _together(network, one, other)
        if rows is not None:
            assert one.layer is not None
            bias = rows.bias if bool(rows.bias.any()) else None
            layer = layers.with_rows(network, one.layer, rows.weight, bias, at=node)
            network.replace(node, layer)
            return True
    return False


def _branch(network: Network, node: Node) -> _Branch:
    """A node as the affine of a layer, or of something else, behind which nobody else reads."""
    if only_reader(node) is not None:
        if layers.is_layer(network, node):
            return _Branch(node.args[0], node)  # type: ignore[arg-type]
        found = affine_of(network, node) if node.target in AFFINE else None
        if found is not None:
            x, affine = found
            return _then(_branch(network, x), affine)
    return _Branch(node)


def _then(branch: _Branch, affine: Affine) -> _Branch:
    before = branch.affine
    scale, shift = before.scale * affine.scale, before.shift * affine.scale + affine.shift
    return dataclasses.replace(branch, affine=Affine(scale, shift))


def _together(network: Network, one: _Branch, other: _Branch) -> _Rows | None:
    """The layer of `one` with the other branch in it; None where it does not fit in."""
    if one.layer is None:
        return None
    rows = _rows(network, one.layer, one.affine)
    if other.layer is None:
        more = _identity(network, one.layer, other)
    elif other.layer.target is one.layer.target:
        more = _rows(network, other.layer, other.affine)
        if more is not None and one.layer.target is aten.conv2d.default:
            more = _among_taps(more, other.layer, one.layer)
    else:
        return None
    if rows is None or more is None:
        return None
    return _Rows(rows.weight + more.weight, rows.bias + more.bias)


def _rows(network: Network, layer: Node, affine: Affine) -> _Rows | None:
    """A layer's rows with the affine in them; None where that is not one of its channels."""
    scale, shift = _of_channels(layer, affine.scale), _of_channels(layer, affine.shift)
    if scale is None or shift is None:
        return None
    weight, bias = layers.weight_of(network, layer), layers.bias_of(network, layer)
    weight = weight * scale.reshape([-1] + [1] * (weight.ndim - 1))
    return _Rows(weight, shift if bias is None else bias * scale + shift)


def _of_channels(layer: Node, values: Tensor) -> Tensor | None:
    """Values that broadcast to a layer's result, as one for each channel; None where more are."""
    shape, axis = shape_of(layer), layers.channel_axis(layer)
    values = without_repeats(values.reshape([1] * (len(shape) - values.ndim) + list(values.shape)))
    if values.numel() != values.shape[axis]:
        return None
    return values.flatten().expand(shape[axis])


def _identity(network: Network, layer: Node, branch: _Branch) -> _Rows | None:
    """The affine of a layer's input as rows of that layer; None where it cannot copy its input."""
    scale, shift = (_of_channels(layer, v) for v in (branch.affine.scale, branch.affine.shift))
    weight = layers.weight_of(network, layer)
    if scale is None or shift is None or shape_of(branch.source) != shape_of(layer):
        return None
    copies = torch.zeros_like(weight)
    rows = torch.arange(len(weight))
    if layer.target is aten.linear.default:
        copies[rows, rows] = scale
        return _Rows(copies, shift)
    args: Any = layer.args
    taps = [_offsets(args, axis) for axis in (0, 1)]
    if args[3] != [1, 1] or not all(0 in offsets for offsets in taps):
        return None
    centre = [offsets.index(0) for offsets in taps]
    copies[rows, rows % weight.shape[1], centre[0], centre[1]] = scale
    return _Rows(copies, shift)


def _among_taps(rows: _Rows, its: Node, other: Node) -> _Rows | None:
    """Rows of a convolution with the taps of another one; None where it has further ones."""
    mine: Any = its.args
    others: Any = other.args
    if (mine[3], mine[6]) != (others[3], others[6]):  # stride and groups
        return None
    places = []
    for axis in (0, 1):
        offsets, others_offsets = _offsets(mine, axis), _offsets(others, axis)
        if not set(offsets) <= set(others_offsets):
            return None
        places.append(torch.tensor([others_offsets.index(offset) for offset in offsets]))
    weight = rows.weight.new_zeros(shape_of(others[1]))
    weight[:, :, places[0][:, None], places[1]] = rows.weight
    return _Rows(weight, rows.bias)


def _offsets(args: Any, axis: int) -> list[int]:
    """Where a convolution's taps read on an axis, as seen from where it writes."""
    padding, dilation = args[4][axis], args[5][axis]
    return [tap * dilation - padding for tap in range(shape_of(args[1])[2 + axis])]
