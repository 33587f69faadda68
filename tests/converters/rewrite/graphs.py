"""What the tests of rewrites share: a network from a module, and what is compared of two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from converters.loud import loud_weights_
from converters.rewrite.canonical import canonicalise
from converters.rewrite.capture import capture
from converters.rewrite.network import Network


def captured(module: nn.Module, *inputs: Tensor) -> Network:
    """The canonical network of a module in eval mode."""
    with torch.no_grad():
        network = capture(torch.export.export(module.eval(), inputs))
    canonicalise(network)
    network.graph.lint()
    return network


def relative_error(outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest magnitude of its output."""
    assert len(outputs) == len(expected)
    errors = []
    for one, other in zip(outputs, expected, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        scale = other.abs().max().item() or 1.0
        errors.append((one - other).abs().max().item() / scale)
    return max(errors)


def same_function(network: Network, before: Sequence[Tensor], inputs: Sequence[Tensor]) -> bool:
    """Whether the network, sound as a graph, gives what it gave before, in double precision."""
    network.graph.lint()
    return relative_error(network.evaluate(*inputs), before) < 1e-12


def counts(network: Network) -> Counter[str]:
    """How often each operator is called, by its name without overload: {"conv2d": 2}."""
    return Counter(node.target._schema.name.removeprefix("aten::") for node in network.calls())  # type: ignore[union-attr]


def applied(
    apply: Callable[[Network], int], module: nn.Module, *inputs: Tensor
) -> tuple[int, Counter[str]]:
    """A rewrite applied to a module's network: at how many places, and the operators then.

    The module gets loud weights. The function has to stay, no node may be left unread, and a second
    time there must be nothing to do.
    """
    network = captured(loud_weights_(module), *inputs)
    before = network.evaluate(*inputs)
    count = apply(network)
    assert same_function(network, before, inputs)
    assert all(one.users for one in network.graph.nodes if one.op in ("call_function", "get_attr"))
    assert apply(network) == 0
    return count, counts(network)
