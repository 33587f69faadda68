"""Residual streams without a mean, where all that reads them is layer norms.

    LN(x) = LN(P x)    with  P x = x - mean(x),  P = 1 - 11^T / C

A layer norm does not see a number that is added to all channels of a position. What lies between
it and the layers that make its operand is linear: sums, views, concatenation along other axes,
factors that are the same for all channels, products with matrices on the side of positions. So P
moves back into the rows of those layers (P W, P b) and into constants such as positional encodings,
and each norm becomes x / sqrt(mean(x^2) + eps) * weight + bias.

A value that P cannot be moved into (what an activation or a depthwise convolution gives, or what
somebody else reads as well) is centred where it enters the stream. That takes one mean where each
norm had its own, and is done where there are fewer such values than norms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Node

from . import layers
from .layer_norm import normalised
from .network import Network, argument, shape_of
from .readings import Digit, Reading, readers, reading

aten = torch.ops.aten


def apply(network: Network) -> int:
    count = 0
    seen: set[Node] = set()
    for norm in network.calls(aten.layer_norm.default):
        if norm._erased or not _over_channels(norm):
            continue
        start = _origin(norm.args[0], -1)
        if start is None or start[0] in seen:
            continue
        stream = _explored(network, *start)
        if stream is not None:
            seen |= stream.axes.keys()
            count += sum(_centre(network, stream, part) for part in stream.parts())
    return count


@dataclass
class _Stream:
    """Values that meet in sums, and the norms that read them.

    `axes` says where each value has its channels. `terms` has the values that are linear
    combinations of others: each operand, and the value of the stream that it is a view of. `kept`
    are the values that are needed, or can only be made, with their mean.
    """

    axes: dict[Node, int] = field(default_factory=dict)
    terms: dict[Node, list[tuple[Node, Node]]] = field(default_factory=dict)
    norms: dict[Node, list[Node]] = field(default_factory=dict)
    kept: set[Node] = field(default_factory=set)

    def parts(self) -> Iterator[list[Node]]:
        """The values in connected sets: what is not kept, with its terms, kept ones among them."""
        neighbours: dict[Node, list[Node]] = {node: [] for node in self.axes}
        for node, terms in self.terms.items():
            for _, source in terms if node not in self.kept else ():
                if source.op != "get_attr":
                    neighbours[node].append(source)
                    neighbours[source].append(node)
        rest = dict.fromkeys(self.axes)
        while rest:
            part = [rest.popitem()[0]]
            for node in part:
                part += [one for one in dict.fromkeys(neighbours[node]) if one in rest]
                for one in neighbours[node]:
                    rest.pop(one, None)
            yield part


def _explored(network: Network, start: Node, axis: int) -> _Stream | None:
    """The stream around a value; None where one value would have its channels on two axes."""
    stream = _Stream()
    waiting = [(start, axis)]
    while waiting:
        node, axis = waiting.pop()
        if stream.axes.setdefault(node, axis) != axis:
            return None
        if node in stream.norms:
            continue
        stream.norms[node] = []
        if node.op == "get_attr":
            continue
        terms = _terms(network, node, axis)
        origins = [one for operand, place in terms if (one := _origin(operand, place)) is not None]
        if terms and len(origins) == len(terms):
            stream.terms[node] = [
                (operand, source) for (operand, _), (source, _) in zip(terms, origins, strict=True)
            ]
            waiting += origins
        elif not _is_centrable(network, node, axis):
            stream.kept.add(node)
        for reader, value, read in readers(node):
            place = None if read is None else _place(read, axis)
            if place is None:
                stream.kept.add(node)
            elif _over_channels(reader) and reader.args[0] is value and place == _rank(value) - 1:
                stream.norms[node].append(reader)
            elif (result := _axis_of_result(network, reader, value, place)) is not None:
                waiting.append((reader, result))
            else:
                stream.kept.add(node)
    _keep_terms_of_kept(stream)
    return stream


def _keep_terms_of_kept(stream: _Stream) -> None:
    waiting = list(stream.kept)
    while waiting:
        for _, source in stream.terms.get(waiting.pop(), ()):
            if source not in stream.kept and source.op != "get_attr":
                stream.kept.add(source)
                waiting.append(source)


def _over_channels(node: Node) -> bool:
    """Whether a node is a layer norm over the last axis alone."""
    return node.target is aten.layer_norm.default and len(node.args[1]) == 1  # type: ignore[arg-type]


def _rank(value: Node) -> int:
    return len(shape_of(value))


def _place(read: Reading, axis: int) -> int | None:
    """The axis of a view that has all of an axis of its source, and nothing else, in order."""
    whole = (Digit(axis, 1, shape_of(read.source)[axis]),)
    return read.axes.index(whole) if whole in read.axes else None


def _origin(value: Any, place: int) -> tuple[Node, int] | None:
    """What a value is a view of, and the axis there that the value has at `place`."""
    read = reading(value)
    axis = next((digit.axis for digit in read.axes[place] if digit.axis >= 0), None)
    if axis is None or _place(read, axis) != place % len(read.axes):
        return None
    return read.source, axis


def _terms(network: Network, node: Node, axis: int) -> list[tuple[Node, int]]:
    """The operands of which a node is a linear combination, channel by channel, and their axes.

    Empty where it is not one, or where an operand does not have all the channels.
    """
    operands: Any = node.args
    place = axis - _rank(node) if node.target in _LINEAR else 0  # from the last axis
    match node.target:
        case aten.add.Tensor | aten.sub.Tensor:
            terms = [one for one in operands if isinstance(one, Node)]
            fits = len(terms) == 2
        case aten.mul.Tensor | aten.div.Tensor:
            terms = [operands[0]]
            factor = network.value(operands[1])
            fits = factor is not None and (factor.ndim < -place or factor.shape[place] == 1)
        case aten.cat.default:
            terms, fits = list(operands[0]), True
        case aten.mean.dim:
            terms, fits = [operands[0]], True
        case aten.matmul.default:
            terms = [operands[1 if place == -1 else 0]]
            fits = place >= -2 and operands[0] is not operands[1]
        case _:
            return []
    sides = [shape_of(one)[place] if _rank(one) >= -place else 1 for one in terms]
    if not fits or any(side != shape_of(node)[axis] for side in sides):
        return []
    return [(one, place + _rank(one)) for one in terms]


_LINEAR = (
    aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.cat.default,
    aten.mean.dim, aten.matmul.default,
)  # fmt: skip


def _axis_of_result(network: Network, reader: Node, value: Node, place: int) -> int | None:
    """Where a linear combination has the channels that `value` has at `place`."""
    if reader.target not in _LINEAR:
        return None
    axis = place - _rank(value) + _rank(reader)
    return axis if (value, place) in _terms(network, reader, axis) else None


def _is_centrable(network: Network, node: Node, axis: int) -> bool:
    """Whether a node is a layer whose rows are the channels, all made of the same inputs."""
    if not layers.is_layer(network, node) or axis != layers.channel_axis(node):
        return False
    return node.target is aten.linear.default or argument(node, 6, "groups", 1) == 1


def _centre(network: Network, stream: _Stream, part: Sequence[Node]) -> int:
    """Centres what enters a part of a stream; how many norms have lost their mean."""
    norms = [norm for node in part for norm in stream.norms[node]]
    kept = [node for node in part if node in stream.kept]
    centred = [node for node in part if node not in stream.kept]
    if len(norms) <= len(kept):
        return 0
    terms = [source for node in centred for _, source in stream.terms.get(node, ())]
    constants = [source for source in terms if source.op == "get_attr"]
    for node in dict.fromkeys(kept + constants):
        _read_centred(network, stream, centred, node)
    for node in centred:
        if node not in stream.terms:
            weight, bias = layers.weight_of(network, node), layers.bias_of(network, node)
            bias = None if bias is None else bias - bias.mean()
            new = layers.with_rows(network, node, weight - weight.mean(0), bias, at=node)
            network.replace(node, new)
    for norm in norms:
        x: Any = norm.args[0]
        network.replace(norm, normalised(network, x, norm))
    return len(norms)


def _read_centred(network: Network, stream: _Stream, centred: Sequence[Node], node: Node) -> None:
    """Lets the centred values of a stream, and norms, read another value without its mean."""
    axis, first = stream.axes[node], min(node.users)
    value = network.value(node)
    if value is not None:
        other = network.like(value - value.mean(axis, keepdim=True), node, before=first)
    else:
        mean = network.call(aten.mean.dim, node, [axis], True, at=first)
        other = network.call(aten.sub.Tensor, node, mean, at=first)
    places: list[tuple[Node, Any]] = [
        (reader, operand)
        for reader in centred
        for operand, source in stream.terms.get(reader, ())
        if source is node
    ]
    places += [(norm, norm.args[0]) for norm in stream.norms[node]]
    for reader, operand in places:
        reader.replace_input_with(operand, _viewed(network, operand, node, other))
        network.remove(operand)


def _viewed(network: Network, value: Node, source: Node, other: Node) -> Node:
    """The view of `source` that `value` is, of another value."""
    if value is source:
        return other
    inner: Any = value.args[0]
    inner = _viewed(network, inner, source, other)
    return network.call(value.target, inner, *value.args[1:], at=value)  # type: ignore[arg-type]
