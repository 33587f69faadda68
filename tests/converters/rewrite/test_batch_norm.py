"""Batch norms in the layers before or behind them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters.loud import loud_weights_
from converters.rewrite import folding, layers
from converters.rewrite.batch_norm import apply
from tests.converters.rewrite.graphs import applied, captured, counts, same_function

_FEW = settings(max_examples=8, deadline=None)


@st.composite
def convolutions(draw: st.DrawFn, most_padding: int = 2) -> nn.Conv2d:
    groups = draw(st.sampled_from((1, 2, 4)))
    return nn.Conv2d(
        groups * draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 3)),
        (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        stride=draw(st.integers(1, 2)),
        padding=(draw(st.integers(0, most_padding)), draw(st.integers(0, most_padding))),
        dilation=draw(st.integers(1, 2)),
        groups=groups,
        bias=draw(st.booleans()),
    )


def image(channels: int) -> Tensor:
    return torch.randn(2, channels, 7, 6, generator=torch.Generator().manual_seed(0))


@_FEW
@given(convolutions(), st.booleans(), st.sampled_from((1e-5, 1e-2)))
def test_convolution_before(conv: nn.Conv2d, affine: bool, eps: float) -> None:
    net = nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels, eps, affine=affine))
    assert applied(apply, net, image(conv.in_channels)) == (1, {"conv2d": 1})


@_FEW
@given(convolutions(most_padding=0), st.booleans())
def test_convolution_behind(conv: nn.Conv2d, affine: bool) -> None:
    net = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(conv.in_channels, affine=affine), conv)
    assert applied(apply, net, image(conv.in_channels)) == (1, {"relu": 1, "conv2d": 1})


@_FEW
@given(convolutions().filter(lambda conv: any(conv.padding)))
def test_padding_behind_leaves_a_sum(conv: nn.Conv2d) -> None:
    net = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(conv.in_channels), conv)
    assert applied(apply, net, image(conv.in_channels)) == (1, {"relu": 1, "add": 1, "conv2d": 1})


def test_no_layer_leaves_product_and_sum() -> None:
    net = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.ReLU())
    assert applied(apply, net, image(3)) == (1, {"relu": 2, "mul": 1, "add": 1})


class Tokens(nn.Module):
    """LeViT's linear layer with a norm over tokens in a row, and its norm in front of the head."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 8), nn.BatchNorm1d(8)
        self.last, self.head = nn.BatchNorm1d(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        y = self.norm(y.flatten(0, 1)).reshape_as(y)
        return self.head(self.last(torch.relu(y).mean(1)))


class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 8), nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x).transpose(1, 2)).reshape(len(x), 2, 4, -1)


class AheadOfMean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x.sigmoid()).mean((2, 3)))


def test_views_and_means_lie_between() -> None:
    x = torch.randn(2, 5, 6)
    count, used = applied(apply, Tokens(), x)
    assert (count, used["mul"] + used["add"] + used["batch_norm"]) == (2, 0)
    count, used = applied(apply, Transposed(), x)
    assert (count, used["mul"] + used["add"] + used["batch_norm"]) == (1, 0)
    count, used = applied(apply, AheadOfMean(), image(3))
    assert (count, used["mul"] + used["add"] + used["batch_norm"]) == (1, 0)


class Shared(nn.Module):
    """One convolution under two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.conv(self.one(self.conv(x))))


class Tapped(nn.Module):
    """A convolution whose result goes round its norm as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return self.norm(y), y[:, 3:].relu()


@pytest.mark.parametrize(("net", "norms"), [(Shared(), 2), (Tapped(), 1)])
def test_layers_that_others_need_stay(net: nn.Module, norms: int) -> None:
    count, used = applied(apply, net, image(3))
    assert count == used["mul"] == used["add"] == norms


class Training(nn.Module):
    """A norm by the batch's statistics, in spite of those that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.norm.running_mean, self.norm.running_var
        return nn.functional.batch_norm(self.conv(x), mean, var, training=True)


@pytest.mark.parametrize(
    "norm",
    [Training(), nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))],
)
def test_statistics_of_the_batch_stay(norm: nn.Module) -> None:
    assert applied(apply, norm, image(3)) == (0, {"conv2d": 1, "batch_norm": 1})


@pytest.mark.parametrize("net", [Tokens(), Transposed(), AheadOfMean()])
@pytest.mark.parametrize("wrong", ["forgotten bias", "next channel"])
def test_wrong_folds_are_seen(net: nn.Module, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = layers.with_rows

    def with_wrong_rows(network: Any, layer: Any, weight: Any, bias: Any, *, at: Any) -> Any:
        if wrong == "forgotten bias":
            return right(network, layer, weight, layers.bias_of(network, layer), at=at)
        return right(network, layer, weight.roll(1, 0), bias, at=at)

    x = image(3) if isinstance(net, AheadOfMean) else torch.randn(2, 5, 6)
    network = captured(loud_weights_(net), x)
    before = network.evaluate(x)
    monkeypatch.setattr(folding.layers, "with_rows", with_wrong_rows)
    assert apply(network) > 0
    assert counts(network)["batch_norm"] == 0
    assert not same_function(network, before, (x,))
