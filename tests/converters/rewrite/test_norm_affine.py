"""Weights and biases of layer norms in the layers that read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters.loud import loud_weights_
from converters.rewrite import layers
from converters.rewrite.network import Network
from converters.rewrite.norm_affine import apply
from tests.converters.rewrite.graphs import captured, counts, same_function

_FEW = settings(max_examples=8, deadline=None)
TOKENS = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(
        self, forward: Callable[[Net, Tensor], Any], weight: bool = True, bias: bool = True
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8, elementwise_affine=weight, bias=bias)
        self.q, self.k, self.v = (nn.Linear(8, n, bias=n != 6) for n in (4, 5, 6))
        self.point, self.wide = nn.Conv2d(8, 3, 1), nn.Conv2d(8, 4, 3, groups=2, bias=False)
        self.padded = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.function = forward

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def check(net: nn.Module, x: Tensor = TOKENS) -> list[tuple[bool, bool]]:
    """Which norms have a weight, and which a bias, after the rewrite has kept the function.

    A second time there is nothing to do.
    """
    network = captured(loud_weights_(net), x)
    before = network.evaluate(x)
    used = counts(network)
    count = apply(network)
    assert same_function(network, before, (x,))
    assert counts(network) == used
    assert all(one.users for one in network.graph.nodes if one.op in ("call_function", "get_attr"))
    assert apply(network) == 0
    left = affines(network)
    assert count == sum(one != (True, True) for one in left)
    return left


def affines(network: Network) -> list[tuple[bool, bool]]:
    norms = network.calls(torch.ops.aten.layer_norm.default)
    return [(norm.args[2] is not None, norm.args[3] is not None) for norm in norms]


def as_map(x: Tensor) -> Tensor:
    return x.transpose(1, 2).unflatten(2, (3, 4))


def several(net: Net, x: Tensor) -> tuple[Tensor, ...]:
    y = net.norm(x)
    return net.q(y), net.k(y), net.v(y)


FOLDED: dict[str, Callable[[Net, Tensor], Any]] = {
    "one linear layer": lambda net, x: net.q(net.norm(x)),
    "several": several,
    "a convolution": lambda net, x: net.point(as_map(net.norm(x))),
    "a grouped one": lambda net, x: net.wide(as_map(net.norm(x))),
    "the first token": lambda net, x: net.q(net.norm(x)[:, 0]),
    "windows": lambda net, x: net.q(net.norm(x).reshape(2, 2, 3, 2, 8).transpose(2, 3)),
    "the mean of tokens": lambda net, x: net.q(net.norm(x).mean(1)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_readers_take_weight_and_bias(name: str) -> None:
    assert check(Net(FOLDED[name])) == [(False, False)]


@_FEW
@given(st.booleans(), st.sampled_from((1, 3, 64)), st.floats(1e-6, 1e-2))
def test_sizes_and_epsilons(bias: bool, channels: int, eps: float) -> None:
    net = nn.Sequential(nn.LayerNorm(channels, eps, bias=bias), nn.Linear(channels, 5))
    assert check(net, torch.randn(2, 4, channels)) == [(False, False)]


def test_padding_leaves_the_bias() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.padded(as_map(net.norm(x)))

    assert check(Net(forward)) == [(False, True)]
    assert check(Net(forward, bias=False)) == [(False, False)]


def residual(net: Net, x: Tensor) -> Tensor:
    y = net.norm(x)
    return net.q(y) + y[..., :4]


def twice_the_same(net: Net, x: Tensor) -> Tensor:
    return net.q(net.norm(x)) + net.q(x)


STAYING: dict[str, Callable[[Net, Tensor], Any]] = {
    "somebody else reads it": residual,
    "a weight has two readers": twice_the_same,
    "it is an output": lambda net, x: (y := net.norm(x), net.q(y)),
    "an activation lies between": lambda net, x: net.q(net.norm(x).relu()),
    "the weights' place": lambda net, x: nn.functional.linear(x, net.norm(x)[0]),
    "its channels are another axis": lambda net, x: net.q(net.norm(x)[:, :8].mT),
    "it is a residual of the mean": lambda net, x: net.q(net.norm(x).mean(2, keepdim=True) + x),
}


@pytest.mark.parametrize("name", STAYING)
def test_norms_stay(name: str) -> None:
    assert check(Net(STAYING[name])) == [(True, True)]


@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize("wrong", ["forgotten bias", "next channel"])
def test_wrong_folds_are_seen(name: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = layers.with_rows

    def with_wrong_rows(network: Any, layer: Any, weight: Any, bias: Any, *, at: Any) -> Any:
        if wrong == "forgotten bias":
            return right(network, layer, weight, layers.bias_of(network, layer), at=at)
        return right(network, layer, weight.roll(1, 1), bias, at=at)

    network = captured(loud_weights_(Net(FOLDED[name])), TOKENS)
    before = network.evaluate(TOKENS)
    monkeypatch.setattr(layers, "with_rows", with_wrong_rows)
    assert apply(network) == 1
    assert affines(network) == [(False, False)]
    assert not same_function(network, before, (TOKENS,))
