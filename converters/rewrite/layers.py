"""Linear layers and convolutions whose weights are constants: rows in, rows out.

A row is what makes one channel of the output: row i of a linear layer's weight (N, K), filter i of
a convolution's weight (N, K/groups, kh, kw), and number i of either one's bias.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Node

from .network import Network, argument, shape_of

aten = torch.ops.aten


def is_layer(network: Network, node: Node) -> bool:
    """Whether a node is a layer whose constants may be changed: nobody else reads them."""
    if node.op != "call_function" or node.target not in (aten.linear.default, aten.conv2d.default):
        return False
    weights = [one for one in (node.args[1], argument(node, 2, "bias")) if one is not None]
    return all(
        isinstance(one, Node) and one.op == "get_attr" and network.is_own(one) for one in weights
    )


def channel_axis(layer: Node) -> int:
    """The axis of the layer's output that counts its rows."""
    return 1 if layer.target is aten.conv2d.default else len(shape_of(layer)) - 1


def input_axis(layer: Node) -> int:
    """The axis of the layer's input that its weights sum over."""
    return 1 if layer.target is aten.conv2d.default else len(shape_of(layer.args[0])) - 1  # type: ignore[arg-type]


def is_pointwise(layer: Node) -> bool:
    """Whether each output position reads the channels of one input position, all of them."""
    if layer.target is aten.linear.default:
        return True
    kernel = shape_of(layer.args[1])[2:]  # type: ignore[arg-type]
    padded = any(argument(layer, 4, "padding", (0,)))
    return kernel == (1, 1) and not padded and argument(layer, 6, "groups", 1) == 1


def weight_of(network: Network, layer: Node) -> Tensor:
    weight = network.value(layer.args[1])
    assert weight is not None
    return weight


def bias_of(network: Network, layer: Node) -> Tensor | None:
    return network.value(argument(layer, 2, "bias"))


def with_rows(
    network: Network, layer: Node, weight: Tensor, bias: Tensor | None, *, at: Node
) -> Node:
    """The layer on the same input with other rows, ahead of the node `at`."""
    old_weight, old_bias = layer.args[1], argument(layer, 2, "bias")
    assert isinstance(old_weight, Node)
    arguments = [
        layer.args[0],
        network.like(weight, old_weight, before=at),
        None if bias is None else network.like(bias, old_bias or old_weight, before=at),
        *layer.args[3:],
    ]
    kwargs = {name: value for name, value in layer.kwargs.items() if name != "bias"}
    return network.call(layer.target, *arguments, at=at, **kwargs)  # type: ignore[arg-type]
