"""Scaled dot-product attention, spelled out: softmax(scale q k^T + mask) v.

That is its definition; what ATen's operator adds is a rule for rows of the mask that allow nothing,
which become zeros. Applies without dropout and without groups of heads. A boolean mask has to be a
constant that allows something in each row, and becomes a constant to add: 0 where it allows, far
below any logit elsewhere, whose exponential is 0 in every precision. A causal mask is such a
constant.

The scale multiplies whichever is smallest of q, k and the logits, as
scale (q k^T) = (scale q) k^T = q (scale k)^T; `attention_scale` moves it on into weights.

ExecuTorch decomposes the operator into a softmax that looks for such rows, with comparisons and
selections that its XNNPACK delegate does not take.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node

from .canonical import permute
from .network import Network, argument, dtype_of, shape_of

aten = torch.ops.aten

# A logit of what a mask forbids. Finite, as infinities become NaN where a runtime subtracts them.
_FORBIDDEN = -1e30


def apply(network: Network) -> int:
    return sum(
        _spelled_out(network, node)
        for node in network.calls(aten.scaled_dot_product_attention.default)
    )


def _spelled_out(network: Network, node: Node) -> bool:
    q, k, v = (argument(node, i, name) for i, name in enumerate(("query", "key", "value")))
    mask = argument(node, 3, "attn_mask")
    is_causal = argument(node, 5, "is_causal", False)
    if argument(node, 4, "dropout_p", 0.0) or node.kwargs.get("enable_gqa", False):
        return False
    rows, columns = shape_of(q)[-2], shape_of(k)[-2]
    if is_causal:
        allowed = torch.ones(rows, columns, dtype=torch.bool).tril()
    elif mask is not None and dtype_of(mask) is torch.bool:
        constant = network.value(mask)
        if constant is None or not constant.any(-1).all():
            return False
        allowed = constant
    else:
        allowed = None
    if allowed is not None:
        values = torch.zeros(allowed.shape).masked_fill(~allowed, _FORBIDDEN)
        mask = network.constant(values, before=node, dtype=dtype_of(q), name="mask")

    logits = _scaled_product(network, q, k, _scale(node, q), at=node)
    if mask is not None:
        logits = network.call(aten.add.Tensor, logits, mask, at=node)
    weights = network.call(aten.softmax.int, logits, len(shape_of(logits)) - 1, at=node)
    network.replace(node, network.call(aten.matmul.default, weights, v, at=node))
    return True


def _scale(node: Node, q: Node) -> float:
    given = node.kwargs.get("scale")
    return 1 / math.sqrt(shape_of(q)[-1]) if given is None else float(given)  # type: ignore[arg-type]


def _scaled_product(network: Network, q: Node, k: Node, scale: float, *, at: Node) -> Node:
    def scaled(x: Node) -> Node:
        return x if scale == 1 else network.call(aten.mul.Tensor, x, scale, at=at)

    batch = torch.broadcast_shapes(shape_of(q)[:-2], shape_of(k)[:-2])
    logits = math.prod(batch) * shape_of(q)[-2] * shape_of(k)[-2]
    sizes = {"q": math.prod(shape_of(q)), "k": math.prod(shape_of(k)), "logits": logits}
    smallest = min(sizes, key=lambda name: sizes[name])
    q = scaled(q) if smallest == "q" else q
    k = scaled(k) if smallest == "k" else k
    product = network.call(aten.matmul.default, q, _transposed(network, k, at=at), at=at)
    return scaled(product) if smallest == "logits" else product


def _transposed(network: Network, x: Node, *, at: Node) -> Node:
    order: list[Any] = list(range(len(shape_of(x))))
    return permute(network, x, [*order[:-2], order[-1], order[-2]], at=at)
