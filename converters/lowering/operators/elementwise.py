"""Operators that work number by number: their result lies as their operand does."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node

from ...rewrite.network import argument
from ..arrangement import View
from ..lower import Lowering, rule
from ..program import NotCovered

aten = torch.ops.aten

_BINARY = {
    aten.add.Tensor: "add",
    aten.sub.Tensor: "subtract",
    aten.mul.Tensor: "multiply",
    aten.div.Tensor: "divide",
    aten.maximum.default: "maximum",
    aten.minimum.default: "minimum",
    aten.add.Scalar: "add",
    aten.sub.Scalar: "subtract",
    aten.mul.Scalar: "multiply",
    aten.div.Scalar: "divide",
}
_UNARY = {
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


@rule(*_BINARY)
def _binary(low: Lowering, node: Node) -> View:
    a, b = low.view(node.args[0]), low.view(node.args[1])
    return low.build.pairwise(_BINARY[node.target], a, b)


@rule(*_UNARY)
def _unary(low: Lowering, node: Node) -> View:
    return _apply(low, _UNARY[node.target], low.view(node.args[0]))


def _apply(lowering: Lowering, kind: str, view: View, **attributes: Any) -> View:
    result = lowering.build.emit(kind, [view.tensor], view.tensor.shape, **attributes)
    return View(result, view.memory, view.axes)


@rule(aten.relu.default)
def _relu(low: Lowering, node: Node) -> View:
    return _apply(low, "clamp", low.view(node.args[0]), low=0.0, high=None)


@rule(aten.clamp.default)
def _clamp(low: Lowering, node: Node) -> View:
    lower, upper = argument(node, 1, "min"), argument(node, 2, "max")
    bounds = [None if bound is None else float(bound) for bound in (lower, upper)]
    return _apply(low, "clamp", low.view(node.args[0]), low=bounds[0], high=bounds[1])


@rule(aten.silu.default)
def _silu(low: Lowering, node: Node) -> View:
    x = low.view(node.args[0])
    return low.build.pairwise("multiply", x, _apply(low, "sigmoid", x))


@rule(aten.gelu.default)
def _gelu(low: Lowering, node: Node) -> View:
    x = low.view(node.args[0])
    if argument(node, 1, "approximate", "none") == "none":
        return _apply(low, "gelu", x)
    # 0.5 x (1 + tanh(sqrt(2/pi) x (1 + 0.044715 x^2)))
    build = low.build
    square = build.pairwise("multiply", _apply(low, "square", x), low.number(0.044715))
    inner = build.pairwise("add", square, low.number(1.0))
    scaled = build.pairwise("multiply", x, low.number(math.sqrt(2 / math.pi)))
    wave = _apply(low, "tanh", build.pairwise("multiply", scaled, inner))
    half = build.pairwise("multiply", x, low.number(0.5))
    return build.pairwise("multiply", half, build.pairwise("add", wave, low.number(1.0)))


@rule(aten.hardsigmoid.default)
def _hardsigmoid(low: Lowering, node: Node) -> View:
    build = low.build
    x = build.pairwise("multiply", low.view(node.args[0]), low.number(1 / 6))
    return build.pairwise("add", x, low.number(0.5), activation=(0.0, 1.0))


@rule(aten.elu.default)
def _elu(low: Lowering, node: Node) -> View:
    if argument(node, 2, "scale", 1) != 1 or argument(node, 3, "input_scale", 1) != 1:
        raise NotCovered("an ELU with scales")
    alpha = float(argument(node, 1, "alpha", 1.0))
    return _apply(low, "elu", low.view(node.args[0]), alpha=alpha)


@rule(aten.leaky_relu.default)
def _leaky_relu(low: Lowering, node: Node) -> View:
    alpha = float(argument(node, 1, "negative_slope", 0.01))
    return _apply(low, "leaky_relu", low.view(node.args[0]), alpha=alpha)


@rule(aten.reciprocal.default)
def _reciprocal(low: Lowering, node: Node) -> View:
    return low.build.pairwise("divide", low.number(1.0), low.view(node.args[0]))


@rule(aten.pow.Tensor_Scalar)
def _power(low: Lowering, node: Node) -> View:
    kind = {2: "square", 0.5: "sqrt", -0.5: "rsqrt"}.get(float(node.args[1]))  # type: ignore[arg-type]
    if kind is None:
        raise NotCovered(f"a power of {node.args[1]}")
    return _apply(low, kind, low.view(node.args[0]))


@rule(aten.batch_norm.default)
def _batch_norm(low: Lowering, node: Node) -> View:
    """One that no rewrite folded: y = s x + t for each channel."""
    gamma, beta, mean, var = (low.weight(one) for one in node.args[1:5])
    if mean is None or var is None:
        raise NotCovered("a batch norm without statistics")
    scale = (var.double() + float(node.args[7])).rsqrt()  # type: ignore[arg-type]
    scale = scale if gamma is None else scale * gamma
    shift = -mean * scale if beta is None else beta - mean * scale
    x = low.view(node.args[0])
    sides = [-1] + [1] * (len(x.axes) - 2)
    for kind, values in (("multiply", scale), ("add", shift)):
        data = values.reshape(sides).float().numpy()
        constant = low.build.constant(data, f"{node.name}_{kind}")
        x = low.build.pairwise(kind, x, _fresh(constant))
    return x


def _fresh(constant: Any) -> View:
    from ..arrangement import fresh

    return fresh(constant)
