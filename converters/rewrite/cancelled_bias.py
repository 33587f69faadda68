"""Biases of keys and values that a softmax cancels, or hands on.

    softmax(q (k + b)^T) = softmax(q k^T + q b^T) = softmax(q k^T)

as q b^T is one number for all keys of a query, which a softmax does not see: the bias of keys goes.
Masks may be added in between, and factors that are the same for all keys.

    A (v + b) = A v + b        for rows of A that sum to 1, those of a softmax

so that the bias of values goes on into the linear layer or convolution that alone reads the result,
as that layer's own. In both cases the bias has to be the same for all keys: not that of a
convolution whose channels are the keys, as in attention between channels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Node

from . import layers
from .folding import Affine, fold_behind, fold_into
from .network import Network, only_reader, shape_of
from .readings import Reading, constant_of, readers, reading, without_repeats

aten = torch.ops.aten

_ONE = torch.ones((), dtype=torch.float64)


def apply(network: Network) -> int:
    count = 0
    for softmax in network.calls(aten.softmax.int):
        if softmax.args[1] == len(shape_of(softmax)) - 1:
            count += sum(_without_key_bias(network, one) for one in _logits(network, softmax))
            for reader, weights, read in list(readers(softmax)):
                if reader.target is aten.matmul.default and read is not None:
                    count += _with_value_bias_behind(network, reader, weights, read)
    return count


def _logits(network: Network, softmax: Node) -> list[Node]:
    """The products of matrices that a softmax over their columns reads as summands."""
    found = []
    waiting = [(softmax, operand) for operand in softmax.all_input_nodes]
    while waiting:
        reader, value = waiting.pop()
        if only_reader(value) is not reader:
            continue
        if value.target is aten.matmul.default:
            found.append(value)
        elif _keeps_columns(network, value):
            full = (one for one in value.all_input_nodes if constant_of(network, one) is None)
            waiting += [(value, one) for one in full if shape_of(one)[-1:] == shape_of(value)[-1:]]
    return found


def _keeps_columns(network: Network, node: Node) -> bool:
    """Whether a number for each row of an operand is one for each row of the result."""
    columns = len(shape_of(node)) - 1
    if node.target is aten.reshape.default:
        return True  # where the number of columns stays
    if node.target is aten.permute.default:
        return bool(node.args[1][-1] == columns)  # type: ignore[index]
    if node.target in (aten.mul.Tensor, aten.div.Tensor):
        operands = node.args[1:] if node.target is aten.div.Tensor else node.args
        factors = [factor for one in operands if (factor := constant_of(network, one)) is not None]
        return any(factor.ndim == 0 or factor.shape[-1] == 1 for factor in factors)
    return node.target in (aten.add.Tensor, aten.sub.Tensor)


def _without_key_bias(network: Network, product: Node) -> bool:
    bias = _bias(network, product, 1, -1)
    if bias is None or not fold_into(network, product, product.args[1], Affine(_ONE, -bias)):  # type: ignore[arg-type]
        return False
    _drop_zeros(network, reading(product.args[1]).source)  # type: ignore[arg-type]
    return True


def _with_value_bias_behind(network: Network, product: Node, weights: Node, read: Reading) -> bool:
    """`weights`, an operand of the product, are what a softmax gives, read so."""
    place = product.args.index(weights)
    # The keys are the columns of the weights, and the rows of a first operand's partner.
    own, other = (-1, -2) if place == 0 else (-2, -1)
    keys = len(shape_of(read.source)) - 1
    index, count = read.index(keys), shape_of(read.source)[keys]
    if index.shape[own] != count or not torch.equal(index.flatten(), torch.arange(count)):
        return False
    values = product.args[1 - place]
    bias = _bias(network, product, 1 - place, other)
    if bias is None or not fold_into(network, product, values, Affine(_ONE, -bias)):  # type: ignore[arg-type]
        return False
    if not fold_behind(network, product, Affine(_ONE, bias)):
        fold_into(network, product, product.args[1 - place], Affine(_ONE, bias))  # type: ignore[arg-type]
        return False
    _drop_zeros(network, reading(product.args[1 - place]).source)  # type: ignore[arg-type]
    return True


def _bias(network: Network, product: Node, place: int, keys: int) -> Tensor | None:
    """The bias that an operand of a product has from its layer, broadcasting to the operand.

    None where there is none, or where it is not the same for all keys, an axis of the operand.
    """
    read = reading(product.args[place])  # type: ignore[arg-type]
    layer = read.source
    bias = layers.bias_of(network, layer) if layers.is_layer(network, layer) else None
    if bias is None:
        return None
    after = len(shape_of(layer)) - 1 - layers.channel_axis(layer)
    seen = without_repeats(read.of_source(bias.reshape([-1] + [1] * after)))
    return seen if seen.shape[keys] == 1 and bool(seen.any()) else None


def _drop_zeros(network: Network, layer: Node) -> None:
    bias = layers.bias_of(network, layer)
    if bias is not None and not bias.any():
        weight = layers.weight_of(network, layer)
        network.replace(layer, layers.with_rows(network, layer, weight, None, at=layer))
