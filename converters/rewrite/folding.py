"""Per-channel factors and summands folded into the layers before or behind them.

    s (W x + b) + t = (s W) x + (s b + t)          into the layer before: rows
    W (s x + t) + b = (W s) x + (W t + b)          into the layers behind: columns

A layer is a linear or a convolution with constants of its own (`layers.py`); views may lie between
(`readings.py`), and behind also means over axes along which factor and summand do not change. With
zeros around it, a convolution behind takes a factor but no summand: that would be added to the
border as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from . import layers
from .network import Network, argument, dtype_of, shape_of
from .readings import Reading, constant_of, readers, reading, without_repeats

aten = torch.ops.aten

ONE = torch.tensor(1.0, dtype=torch.float64)
ZERO = torch.tensor(0.0, dtype=torch.float64)
AFFINE = (
    aten.mul.Tensor, aten.div.Tensor, aten.add.Tensor, aten.sub.Tensor, aten.neg.default,
)  # fmt: skip


@dataclass(frozen=True)
class Affine:
    """`scale * x + shift`, both broadcasting to x, in double precision."""

    scale: Tensor
    shift: Tensor


NOTHING = Affine(ONE, ZERO)


def affine_of(network: Network, node: Node) -> tuple[Node, Affine] | None:
    """A call of one of `AFFINE` as an affine of its one operand that is not constant.

    None where there is none or two, where the result has another shape, and for whole numbers.
    """
    x: Any
    x, *others = node.args
    if node.target is aten.neg.default:
        affine = Affine(-ONE, ZERO)
    else:
        (y,) = others
        left, right = constant_of(network, x), constant_of(network, y)
        if (left is None) == (right is None):
            return None
        if right is not None:
            affine = {
                aten.mul.Tensor: Affine(right, ZERO),
                aten.div.Tensor: Affine(1 / right, ZERO),
                aten.add.Tensor: Affine(ONE, right),
                aten.sub.Tensor: Affine(ONE, -right),
            }[node.target]  # type: ignore[index]
        elif left is not None and node.target is not aten.div.Tensor:
            x = y
            affine = {
                aten.mul.Tensor: Affine(left, ZERO),
                aten.add.Tensor: Affine(ONE, left),
                aten.sub.Tensor: Affine(-ONE, left),
            }[node.target]  # type: ignore[index]
        else:
            return None
    if shape_of(x) != shape_of(node) or not dtype_of(x).is_floating_point:
        return None
    finite = bool(affine.scale.isfinite().all()) and bool(affine.shift.isfinite().all())
    return (x, affine) if finite else None


def applied(network: Network, affine: Affine, x: Node, *, at: Node) -> Node:
    """The affine of a value, ahead of the node `at`, with neither product nor sum that is idle."""
    for target, constant, neutral in (
        (aten.mul.Tensor, affine.scale, 1),
        (aten.add.Tensor, affine.shift, 0),
    ):
        if bool((constant != neutral).any()):
            held = network.constant(constant, before=at, dtype=dtype_of(x), name=at.name)
            x = network.call(target, x, held, at=at)
    return x


def fold_before(network: Network, node: Node, x: Node, affine: Affine) -> bool:
    """Puts `x` in the place of `node`, the affine of it, if the layer that makes `x` takes that."""
    place = node.args.index(x)
    if not fold_into(network, node, x, affine):
        return False
    network.replace(node, node.args[place])  # type: ignore[arg-type]
    return True


def fold_into(network: Network, node: Node, x: Node, affine: Affine) -> bool:
    """Makes the layer behind `x` give the affine of what `node` reads as `x`.

    It can where nobody else reads any of the channels that `node` reads.
    """
    read = reading(x)
    layer = read.source
    if not layers.is_layer(network, layer):
        return False
    axis = layers.channel_axis(layer)
    scale, shift = (read.by_source(one, [axis]) for one in (affine.scale, affine.shift))
    if scale is None or shift is None or not _reads_alone(node, x, read, axis):
        return False
    scale, shift = scale.nan_to_num(1.0), shift.nan_to_num(0.0)
    weight, bias = layers.weight_of(network, layer), layers.bias_of(network, layer)
    weight = weight * scale.reshape([-1] + [1] * (weight.ndim - 1))
    if bias is not None or bool(shift.any()):
        bias = shift if bias is None else bias * scale + shift
    network.replace(layer, layers.with_rows(network, layer, weight, bias, at=layer))
    return True


def _reads_alone(node: Node, x: Node, mine: Reading, axis: int) -> bool:
    """Whether nobody but `node` reads any of these channels, and that once."""
    covered = mine.covered(axis)
    for reader, value, read in readers(mine.source):
        if (reader, value) == (node, x):
            continue
        if read is None or bool((read.covered(axis) & covered).any()):
            return False
    return node.args.count(x) == 1


def fold_behind(network: Network, node: Node, affine: Affine) -> bool:
    """Makes all readers of `node`, if they are layers, take `affine` of it for themselves.

    `node` is left to the caller, who puts what it computes without the affine in its place.
    """
    inputs = _inputs(network, node, affine)
    for layer, one in (inputs or {}).items():
        network.replace(layer, _with_columns(network, layer, one))
    return bool(inputs)


def fold_most_behind(network: Network, node: Node, affine: Affine) -> Affine:
    """As `fold_behind`, and else the factor alone, as s x + t = s (x + t/s): what is left to do."""
    scale, shift = affine.scale, affine.shift
    if fold_behind(network, node, affine):
        return NOTHING
    is_factor = bool(scale.all()) and bool((scale != 1).any())
    if is_factor and fold_behind(network, node, Affine(scale, ZERO)):
        return Affine(ONE, shift / scale)
    return affine


def _inputs(network: Network, node: Node, affine: Affine) -> dict[Node, Affine] | None:
    """The layers that read a node with the affine of each input channel, (C), of each.

    None where something else reads it, or a layer cannot take it.
    """
    found: dict[Node, Affine] = {}
    for reader, value, read in readers(node):
        if read is None or reader.op != "call_function":
            return None
        here = Affine(*(without_repeats(read.of_source(v)) for v in (affine.scale, affine.shift)))
        if reader.target is aten.mean.dim:
            axes: Any = reader.args[1]
            if any(one.shape[axis] > 1 for one in (here.scale, here.shift) for axis in axes):
                return None
            more = _inputs(network, reader, here)
        else:
            columns = _columns(network, reader, value, here)
            more = None if columns is None else {reader: columns}
        if more is None:
            return None
        found |= more
    return found


def _columns(network: Network, layer: Node, value: Node, affine: Affine) -> Affine | None:
    """The affine of a layer's input as that of its columns, if it takes it."""
    if not layers.is_layer(network, layer) or layer.args[0] is not value:
        return None
    axis = layers.input_axis(layer)
    if any(one.numel() > one.shape[axis] for one in (affine.scale, affine.shift)):
        return None
    padded = layer.target is aten.conv2d.default and any(argument(layer, 4, "padding", (0,)))
    if padded and bool(affine.shift.any()):
        return None
    count = shape_of(value)[axis]
    return Affine(*(one.flatten().expand(count) for one in (affine.scale, affine.shift)))


def _with_columns(network: Network, layer: Node, affine: Affine) -> Node:
    weight, bias = layers.weight_of(network, layer), layers.bias_of(network, layer)
    groups = argument(layer, 6, "groups", 1) if layer.target is aten.conv2d.default else 1
    apart = weight.reshape(groups, -1, weight.shape[1], math.prod(weight.shape[2:]))
    scale, shift = (one.reshape(groups, 1, -1, 1) for one in (affine.scale, affine.shift))
    added = (apart * shift).sum([2, 3]).flatten()
    if bias is not None or bool(added.any()):
        bias = added if bias is None else bias + added
    return layers.with_rows(network, layer, (apart * scale).reshape(weight.shape), bias, at=layer)
