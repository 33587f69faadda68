"""Residual streams without a mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters.loud import loud_weights_
from converters.rewrite import centred, layers
from converters.rewrite.centred import apply
from tests.converters.rewrite.graphs import applied, captured, same_function

C = 8
TOKENS = torch.randn(2, 12, 6, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))


class Mlp(nn.Sequential):
    def __init__(self, bias: bool = True) -> None:
        super().__init__(nn.LayerNorm(C), nn.Linear(C, 5), nn.GELU(), nn.Linear(5, C, bias=bias))


class Net(nn.Module):
    """`forward(net, x)`, with what streams are made of."""

    def __init__(self, forward: Callable[[Net, Tensor], Any], bias: bool = True) -> None:
        super().__init__()
        self.stem, self.patches = nn.Linear(6, C, bias=bias), nn.Conv2d(3, C, 2, 2, bias=bias)
        self.depthwise = nn.Conv2d(C, C, 3, padding=1, groups=C)
        self.mlp, self.other = Mlp(bias), Mlp(bias)
        self.norm, self.head = nn.LayerNorm(C), nn.Linear(C, 4)
        self.row, self.column = nn.Parameter(torch.zeros(13, C)), nn.Parameter(torch.zeros(C, 1, 1))
        self.cls, self.square = nn.Parameter(torch.zeros(1, 1, C)), nn.Parameter(torch.zeros(C, C))
        self.scale = nn.Parameter(torch.ones(C))
        self.function = forward

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def tail(net: Net, x: Tensor) -> Tensor:
    """The rest of a transformer: a residual block, and a norm ahead of the head."""
    return net.head(net.norm(x + net.other(x)))


def transformer(net: Net, x: Tensor) -> Tensor:
    x = net.stem(x)
    return tail(net, x + net.mlp(x))


def vision_transformer(net: Net, x: Tensor) -> Tensor:
    """Patches, a class token, an encoding of positions; the head reads the class token."""
    x = net.patches(x).flatten(2).mT[:, :12]
    x = torch.cat([net.cls.expand(len(x), -1, -1), x], 1) + net.row
    x = x + net.mlp(x)
    return net.head(net.norm(x + net.other(x))[:, 0])


def mobilevit(net: Net, x: Tensor) -> Tensor:
    """A map taken apart into windows' pixels, as timm does it, around the layers."""
    y = net.patches(x) + net.column
    b, c, h, w = y.shape
    y = y.reshape(b * c * h // 2, 2, w // 2, 2).transpose(1, 2)
    y = y.reshape(b, c, h * w // 4, 4).transpose(1, 3).reshape(b * 4, -1, c)
    return tail(net, y + net.mlp(y))


def map_of_channels(net: Net, x: Tensor) -> Tensor:
    """The stream is a map; its norms go through permutations."""
    y = net.patches(x)
    y = y + net.mlp(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) / 2
    y = y - 0.5 * net.other(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return net.norm(y.mean((2, 3)))


def products(net: Net, x: Tensor) -> Tensor:
    """An output projection within the matrix of channels, and a matrix that mixes positions."""
    x = net.stem(x)
    q = net.norm(x)
    x = x + q @ (torch.softmax(q.mT @ q, -1) @ net.square)
    x = torch.softmax(q @ q.mT, -1) @ x
    return net.head(net.mlp[0](x + net.other(x)))


STREAMS: dict[str, tuple[Callable[[Net, Tensor], Any], Tensor, int]] = {
    "transformer": (transformer, TOKENS, 3),
    "vision transformer": (vision_transformer, IMAGE, 3),
    "windows of a map": (mobilevit, IMAGE, 3),
    "a map": (map_of_channels, IMAGE, 3),
    "products": (products, TOKENS, 3),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("bias", [True, False])
def test_all_norms_lose_their_mean(name: str, bias: bool) -> None:
    forward, x, norms = STREAMS[name]
    count, used = applied(apply, Net(forward, bias), x)
    assert count == norms == used["rsqrt"]
    assert used["layer_norm"] == 0
    assert used["mean"] == norms + (name == "a map")  # of squares


def somebody_else_reads_it(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    x = net.stem(x)
    x = x + net.mlp(x)
    return net.norm(x), x


def a_layer_reads_it(net: Net, x: Tensor) -> Tensor:
    x = net.stem(x)
    return net.head(x + net.mlp(x))


def other_axes(net: Net, x: Tensor) -> tuple[Tensor, ...]:
    """Positions are normalised; half of the channels, of two positions."""
    y = net.stem(x)[:, :C]
    halves = net.stem(x).unflatten(-1, (2, 4)).transpose(1, 2).flatten(2)
    return net.norm(y.mT), net.norm(halves[..., :C])


def transposed(net: Net, x: Tensor) -> Tensor:
    """One value with channels on both axes."""
    y = net.stem(x[:, :C])
    return net.norm(y.mT + y)


def shared_layer(net: Net, x: Tensor) -> Tensor:
    return net.norm(net.stem(x)) + net.stem(-x).relu()


def grouped(net: Net, x: Tensor) -> Tensor:
    y = net.depthwise(net.patches(x))
    return net.norm(y.permute(0, 2, 3, 1))


def scaled_by_channel(net: Net, x: Tensor) -> Tensor:
    return net.norm(net.stem(x) * net.scale)


def channels_of_two(net: Net, x: Tensor) -> Tensor:
    y = net.stem(x)[..., :4]
    return net.norm(torch.cat([y, -y.mT.mT], -1))


def post_norm(net: Net, x: Tensor) -> Tensor:
    x = net.norm(net.stem(x).relu())
    return net.norm(x + net.head(x).mean(-1, keepdim=True))


STAYING: dict[str, tuple[Callable[[Net, Tensor], Any], Tensor]] = {
    "an output": (somebody_else_reads_it, TOKENS),
    "a layer": (a_layer_reads_it, TOKENS),
    "other axes": (other_axes, TOKENS),
    "two axes": (transposed, TOKENS),
    "a layer with two readers": (shared_layer, TOKENS),
    "a depthwise convolution": (grouped, IMAGE),
    "a factor for each channel": (scaled_by_channel, TOKENS),
    "channels of two values": (channels_of_two, TOKENS),
    "norms between sums": (post_norm, TOKENS),
}


@pytest.mark.parametrize("name", STAYING)
def test_norms_keep_their_mean(name: str) -> None:
    forward, x = STAYING[name]
    count, used = applied(apply, Net(forward), x)
    assert (count, used["rsqrt"]) == (0, 0)


def test_one_mean_where_a_value_enters() -> None:
    """Two norms behind a depthwise convolution, as in EdgeNeXt's transposed attention."""

    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        y = net.depthwise(net.patches(x))
        z = y + net.column
        return tail(net, z.flatten(2).mT), y

    count, used = applied(apply, Net(forward), IMAGE)
    assert (count, used["layer_norm"], used["mean"], used["sub"]) == (2, 0, 3, 1)


def test_behind_what_somebody_else_reads() -> None:
    """The norm before stays as it is; those behind share one mean."""

    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        x = net.stem(x)
        x = x + net.mlp(x)
        return tail(net, x), x

    count, used = applied(apply, Net(forward), TOKENS)
    assert (count, used["layer_norm"], used["mean"], used["sub"]) == (2, 1, 3, 1)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4), st.integers(2, 9), st.booleans(), st.floats(1e-6, 1e-2))
def test_depths_and_widths(depth: int, channels: int, bias: bool, eps: float) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(channels, eps, bias=bias)
            self.mlp = nn.Sequential(nn.Linear(channels, 3), nn.SiLU(), nn.Linear(3, channels))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.mlp(self.norm(x))

    blocks = nn.Sequential(
        nn.Linear(4, channels, bias=bias), *(Block() for _ in range(depth)), nn.LayerNorm(channels)
    )
    count, used = applied(apply, blocks, torch.randn(2, 5, 4))
    assert (count, used["layer_norm"]) == (depth + 1, 0)


def uncentred_bias(network: Any, layer: Any, weight: Any, bias: Any, *, at: Any) -> Any:
    return _WITH_ROWS(network, layer, weight, layers.bias_of(network, layer), at=at)


def uncentred_weight(network: Any, layer: Any, weight: Any, bias: Any, *, at: Any) -> Any:
    return _WITH_ROWS(network, layer, layers.weight_of(network, layer), bias, at=at)


_WITH_ROWS = layers.with_rows


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("wrong", [uncentred_bias, uncentred_weight])
def test_wrong_folds_are_seen(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, x, norms = STREAMS[name]
    network = captured(loud_weights_(Net(forward)), x)
    before = network.evaluate(x)
    monkeypatch.setattr(layers, "with_rows", wrong)
    assert apply(network) == norms
    assert not same_function(network, before, (x,))


def test_a_norm_without_mean_that_needs_one_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the values that somebody else reads taken for the stream's own."""
    forward, x = STAYING["an output"]
    network = captured(loud_weights_(Net(forward)), x)
    before = network.evaluate(x)
    explored = centred._explored

    def careless(*arguments: Any) -> Any:
        stream = explored(*arguments)
        assert stream is not None and stream.kept
        stream.kept.clear()
        return stream

    monkeypatch.setattr(centred, "_explored", careless)
    assert apply(network) == 2
    assert not same_function(network, before, (x,))
