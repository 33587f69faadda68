"""Rules for what takes numbers together along axes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node

from ..network import Network, argument, shape_of
from .rules import rule
from .views import reshape, sliced

aten = torch.ops.aten

_FEW = 8  # slices of an axis at most, for a maximum along it


def _axes(node: Node, axes: Any) -> list[int]:
    """Axes as sorted numbers from 0; all of them for None or an empty list."""
    rank = len(shape_of(node.args[0]))  # type: ignore[arg-type]
    if isinstance(axes, int):
        axes = [axes]
    return sorted(axis % rank for axis in axes or range(rank))


@rule(aten.mean.dim, aten.mean.default, aten.sum.dim_IntList, aten.sum.default)
def _reduce(network: Network, node: Node) -> Node:
    is_mean = node.target in (aten.mean.dim, aten.mean.default)
    target = aten.mean.dim if is_mean else aten.sum.dim_IntList
    is_whole = node.target in (aten.mean.default, aten.sum.default)
    axes = _axes(node, None if is_whole else argument(node, 1, "dim"))
    if node.meta["val"].dtype != node.args[0].meta["val"].dtype:  # type: ignore[union-attr]
        return node
    if node.target is target and list(node.args[1:]) == [axes, True] and not node.kwargs:
        return node
    kept = network.call(target, node.args[0], axes, True, at=node)
    return reshape(network, kept, shape_of(node), at=node)


@rule(aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim)
def _norm(network: Network, node: Node) -> Node:
    """sqrt(sum(x^2))."""
    order, axes = argument(node, 1, "ord", 2), _axes(node, argument(node, 2, "dim"))
    if order != 2 or node.meta["val"].dtype != node.args[0].meta["val"].dtype:  # type: ignore[union-attr]
        return node
    squares = network.call(aten.pow.Tensor_Scalar, node.args[0], 2, at=node)
    total = network.call(aten.sum.dim_IntList, squares, axes, True, at=node)
    root = network.call(aten.sqrt.default, total, at=node)
    return reshape(network, root, shape_of(node), at=node)


@rule(aten.var.correction, aten.var.dim, aten.var.default, aten.std.correction)
def _variance(network: Network, node: Node) -> Node:
    """mean((x - mean(x))^2) n / (n - correction)."""
    x: Any = node.args[0]
    axes = argument(node, 1, "dim") if node.target is not aten.var.default else None
    correction: Any = node.kwargs.get("correction", 1)
    if node.target in (aten.var.dim, aten.var.default):
        position = 2 if node.target is aten.var.dim else 1
        correction = int(argument(node, position, "unbiased", True))
    axes = _axes(node, axes)
    mean = network.call(aten.mean.dim, x, axes, True, at=node)
    centred = network.call(aten.sub.Tensor, x, mean, at=node)
    squares = network.call(aten.pow.Tensor_Scalar, centred, 2, at=node)
    y = network.call(aten.mean.dim, squares, axes, True, at=node)
    if correction:
        n = math.prod(shape_of(x)[axis] for axis in axes)
        y = network.call(aten.mul.Tensor, y, n / (n - correction), at=node)
    if node.target is aten.std.correction:
        y = network.call(aten.sqrt.default, y, at=node)
    return reshape(network, y, shape_of(node), at=node)


@rule(aten.amax.default, aten.amin.default)
def _extreme(network: Network, node: Node) -> Node:
    """Along one short axis: the larger of its slices, two by two."""
    x: Any = node.args[0]
    axes = _axes(node, argument(node, 1, "dim"))
    if len(axes) != 1 or shape_of(x)[axes[0]] > _FEW:
        return node
    target = aten.maximum.default if node.target is aten.amax.default else aten.minimum.default
    axis = axes[0]
    y = sliced(network, x, axis, 0, 1, at=node)
    for i in range(1, shape_of(x)[axis]):
        y = network.call(target, y, sliced(network, x, axis, i, i + 1, at=node), at=node)
    return reshape(network, y, shape_of(node), at=node)


@rule(aten.max.dim, aten.min.dim)
def _extreme_with_places(network: Network, node: Node) -> None:
    """Where nobody asks for the places."""
    if any(reader.args[1] != 0 for reader in node.users):
        return
    target = aten.amax.default if node.target is aten.max.dim else aten.amin.default
    axis, keep = argument(node, 1, "dim"), argument(node, 2, "keepdim", False)
    for reader in list(node.users):
        plain = network.call(target, node.args[0], [axis], keep, at=reader)
        network.replace(reader, plain)
        new = _extreme(network, plain)
        if new is not None and new is not plain:
            network.replace(plain, new)


@rule(aten.softmax.int, aten._softmax.default)
def _softmax(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    axis = argument(node, 1, "dim") % len(shape_of(x))
    if node.meta["val"].dtype != x.meta["val"].dtype:
        return node
    if node.target is aten.softmax.int and node.args == (x, axis) and not node.kwargs:
        return node
    return network.call(aten.softmax.int, x, axis, at=node)
