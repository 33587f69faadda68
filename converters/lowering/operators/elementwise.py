"""Operators that work number by number: their result lies as their operand does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node

from ...rewrite.network import argument
from ..arrangement import View, fresh
from ..broadcasting import pairwise
from ..builder import Builder
from ..program import NotCovered
from ..rules import Lowering, array, rule

aten = torch.ops.aten

_BINARY: Mapping[Any, str] = {
    aten.add.Tensor: "add",
    aten.sub.Tensor: "subtract",
    aten.mul.Tensor: "multiply",
    aten.div.Tensor: "divide",
    aten.maximum.default: "maximum",
    aten.minimum.default: "minimum",
}
_UNARY: Mapping[Any, str] = {
    aten.sigmoid.default: "sigmoid",
    aten.tanh.default: "tanh",
    aten.hardswish.default: "hardswish",
    aten.abs.default: "abs",
    aten.neg.default: "negate",
    aten.sqrt.default: "sqrt",
    aten.rsqrt.default: "rsqrt",
    aten.exp.default: "exp",
    aten.log.default: "log",
    aten.floor.default: "floor",
    aten.ceil.default: "ceil",
    aten.sin.default: "sin",
    aten.cos.default: "cos",
}


def apply(build: Builder, kind: str, view: View, **attributes: Any) -> View:
    """An operation on each number, in whatever order they lie."""
    tensor = build.emit(kind, [view.tensor], view.tensor.shape, **attributes)
    return View(tensor, view.memory, view.axes)


@rule(*_BINARY)
def _binary(low: Lowering, node: Node) -> View:
    if argument(node, 2, "alpha", 1) != 1 or "rounding_mode" in node.kwargs:
        raise NotCovered(f"no rule for {node.target} with further arguments")
    a, b = (low.view(one) for one in node.args[:2])
    return pairwise(low.build, _BINARY[node.target], a, b)


@rule(*_UNARY)
def _unary(low: Lowering, node: Node) -> View:
    return apply(low.build, _UNARY[node.target], low.view(node.args[0]))


@rule(aten.relu.default)
def _relu(low: Lowering, node: Node) -> View:
    return apply(low.build, "clamp", low.view(node.args[0]), low=0.0, high=None)


@rule(aten.clamp.default)
def _clamp(low: Lowering, node: Node) -> View:
    bounds = (argument(node, 1, "min"), argument(node, 2, "max"))
    least, most = (None if bound is None else float(bound) for bound in bounds)
    return apply(low.build, "clamp", low.view(node.args[0]), low=least, high=most)


@rule(aten.silu.default)
def _silu(low: Lowering, node: Node) -> View:
    x = low.view(node.args[0])
    return pairwise(low.build, "multiply", x, apply(low.build, "sigmoid", x))


@rule(aten.gelu.default)
def _gelu(low: Lowering, node: Node) -> View:
    x = low.view(node.args[0])
    if argument(node, 1, "approximate", "none") == "none":
        return apply(low.build, "gelu", x)

    # 0.5 x (1 + tanh(sqrt(2/pi) x (1 + 0.044715 x^2)))
    def scaled(view: View, factor: float) -> View:
        return pairwise(low.build, "multiply", view, low.number(factor))

    def plus_one(view: View) -> View:
        return pairwise(low.build, "add", view, low.number(1.0))

    inner = plus_one(scaled(apply(low.build, "square", x), 0.044715))
    inner = pairwise(low.build, "multiply", scaled(x, math.sqrt(2 / math.pi)), inner)
    outer = plus_one(apply(low.build, "tanh", inner))
    return pairwise(low.build, "multiply", scaled(x, 0.5), outer)


@rule(aten.hardsigmoid.default)
def _hardsigmoid(low: Lowering, node: Node) -> View:
    x = pairwise(low.build, "multiply", low.view(node.args[0]), low.number(1 / 6))
    return pairwise(low.build, "add", x, low.number(0.5), activation=(0.0, 1.0))


@rule(aten.elu.default)
def _elu(low: Lowering, node: Node) -> View:
    if argument(node, 2, "scale", 1) != 1 or argument(node, 3, "input_scale", 1) != 1:
        raise NotCovered("an ELU with scales")
    alpha = float(argument(node, 1, "alpha", 1.0))
    return apply(low.build, "elu", low.view(node.args[0]), alpha=alpha)


@rule(aten.leaky_relu.default)
def _leaky_relu(low: Lowering, node: Node) -> View:
    alpha = float(argument(node, 1, "negative_slope", 0.01))
    return apply(low.build, "leaky_relu", low.view(node.args[0]), alpha=alpha)


@rule(aten.pow.Tensor_Scalar)
def _square(low: Lowering, node: Node) -> View:
    if node.args[1] != 2:
        raise NotCovered(f"a power of {node.args[1]}")
    return apply(low.build, "square", low.view(node.args[0]))


@rule(aten.batch_norm.default)
def _batch_norm(low: Lowering, node: Node) -> View:
    """One that no rewrite folded: y = s x + t for each channel."""
    args: Any = node.args
    x, weight, bias, mean, variance, training, _, eps, _ = args
    if training or mean is None:
        raise NotCovered("a batch norm without statistics")
    scale = (low.weight(variance) + eps).rsqrt()
    scale = scale if weight is None else scale * low.weight(weight)
    shift = -low.weight(mean) * scale
    shift = shift if bias is None else shift + low.weight(bias)
    view = low.view(x)
    sides = [-1] + [1] * (len(view.axes) - 2)
    for kind, values in (("multiply", scale), ("add", shift)):
        data = array(values.reshape(sides))
        constant = fresh(low.build.constant(data, f"{node.name}_{kind}"))
        view = pairwise(low.build, kind, view, constant)
    return view
