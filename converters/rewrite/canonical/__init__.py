"""One spelling for each thing: the operators that rewrites and the lowering know.

PyTorch has many names for one computation. After `canonicalise` a graph that moves data does it
with

    reshape(x, sizes)  permute(x, axes)  expand(x, sizes)  slice(x, axis, start, end[, step])
    cat(tensors, axis)  constant_pad_nd(x, widths, value)

with sizes and bounds as plain numbers, and a graph that computes does it with

    conv2d(x, weight, bias, stride, padding, dilation, groups)  all of them, pairs as lists of two
    linear(x, weight[, bias])  matmul(a, b)  scaled_dot_product_attention
    batch_norm  layer_norm(x, sizes, weight, bias, eps)  softmax.int(x, axis)
    mean.dim(x, axes, True)  sum.dim_IntList(x, axes, True)
    avg_pool2d  max_pool2d  upsample_bilinear2d.vec
    add sub mul div (.Tensor, no alpha)  maximum minimum  clamp  pow.Tensor_Scalar
    relu silu gelu sigmoid tanh hardswish hardsigmoid elu leaky_relu abs neg sqrt rsqrt exp log ...
    to.dtype(x, dtype)

Axes are not negative. Numbers are second operands; what broadcasts by itself is not expanded.
Everything else stays as it is, and is nobody's business here. Identities (dropout in eval mode,
copies, casts to the same type) are gone.
"""

from __future__ import annotations

from ..network import Network
from . import arithmetic, layers, moving, reducing  # noqa: F401  they fill the table of rules
from .rules import RULES
from .traced import spell_out
from .views import expand, permute, reshape, sliced

__all__ = ["canonicalise", "expand", "permute", "reshape", "sliced"]


def canonicalise(network: Network) -> None:
    """Brings the graph into the form above, in place."""
    spell_out(network)
    for node in network.calls():
        rule = RULES.get(node.target)
        if rule is None or node._erased:
            continue
        new = rule(network, node)
        if new is not None and new is not node:
            network.replace(node, new)
