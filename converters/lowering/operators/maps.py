"""Maps as arrays (B, H, W, C), which operators with windows read and make."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from ...rewrite.network import shape_of
from ..arrangement import Atom, View
from ..program import NotCovered, Tensor
from ..rules import Lowering

aten = torch.ops.aten

READERS = (aten.conv2d.default, aten.max_pool2d.default, aten.avg_pool2d.default)


def operand(low: Lowering, node: Node) -> Tensor:
    """The first operand as an array (B,H,W,C)."""
    view = low.view(node.args[0])
    if len(view.axes) != 4:
        raise NotCovered("a map without a batch")
    b, c, h, w = view.axes
    return low.build.arranged(view, [b, h, w, c])


def result(tensor: Tensor, x: View) -> View:
    """A map (B,H,W,C) that an operator made from another; the batch's atoms stay."""
    b = x.axes[0]
    h, w, c = (
        (Atom(side, (place,)),) if side > 1 else ()
        for place, side in enumerate(tensor.shape[1:], start=1)
    )
    return View(tensor, (*b, *h, *w, *c), (b, c, h, w))


def array_shape(node: Node) -> tuple[int, int, int, int]:
    """What a node's (B,C,H,W) is as an array."""
    b, c, h, w = shape_of(node)
    return b, h, w, c


def sides(node: Any) -> tuple[int, int]:
    """Height and width of a node's (B,C,H,W)."""
    _, _, h, w = shape_of(node)
    return h, w
