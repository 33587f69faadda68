"""Maps in other sizes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor as TorchTensor
from torch.fx import Node

from ...rewrite.network import argument
from ..arrangement import View
from ..program import NotCovered
from ..rules import Lowering, rule
from . import maps
from .matrix import fully_connected

aten = torch.ops.aten


@rule(aten.upsample_bilinear2d.vec)
def _bilinear(low: Lowering, node: Node) -> View:
    align = bool(argument(node, 2, "align_corners"))
    factors: Any = argument(node, 3, "scale_factors")
    sides = zip(maps.sides(node.args[0]), maps.sides(node), strict=True)
    exact = factors is None or all(
        side * f == got for (side, got), f in zip(sides, factors, strict=True)
    )
    if not exact and not align:
        return _by_matrices(low, node)
    shape = maps.array_shape(node)
    tensor = low.build.emit(
        "resize_bilinear", [maps.operand(low, node)], shape,
        size=shape[1:3], align_corners=align, half_pixel_centers=not align,
    )  # fmt: skip
    return maps.result(tensor, low.view(node.args[0]))


@rule(
    aten.upsample_nearest2d.vec, aten._upsample_nearest_exact2d.vec, aten.upsample_bicubic2d.vec,
    aten.adaptive_avg_pool2d.default,
)  # fmt: skip
def _by_matrices(low: Lowering, node: Node) -> View:
    """A x B^T with constants A and B: what is linear along height and width, one by one."""
    view = low.view(node.args[0])
    if len(view.axes) != 4:
        raise NotCovered("a map without a batch")
    for axis, order in ((0, [0, 1, 3, 2]), (1, [0, 1, 2, 3])):
        matrix, name = _matrix(node, axis), f"{node.name}_{'hw'[axis]}"
        view = fully_connected(low.build, view.permuted(order), matrix, None, name).permuted(order)
    return view


def _matrix(node: Node, axis: int) -> TorchTensor:
    """What the operator does along one axis, (side of the output, side of the input).

    Its columns are what becomes of the unit vectors. Sizes and factors come as pairs.
    """
    units = torch.eye(maps.sides(node.args[0])[axis], dtype=torch.float64)
    target: Any = node.target
    options = [[one[axis], 1] if isinstance(one, list | tuple) else one for one in node.args[1:]]
    images: TorchTensor = target(units[None, :, :, None], *options)  # (1, side, new side, 1)
    return images[0, :, :, 0].T
