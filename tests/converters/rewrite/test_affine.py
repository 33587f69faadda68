"""Constant factors and summands in the layers before or behind them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters.rewrite import folding
from converters.rewrite.affine import apply
from tests.converters.rewrite.graphs import applied, captured, counts, same_function

_FEW = settings(max_examples=8, deadline=None)
OPERATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "x * c": lambda x, c: x * c,
    "c * x": lambda x, c: c * x,
    "x / c": lambda x, c: x / c,
    "x + c": lambda x, c: x + c,
    "c + x": lambda x, c: c + x,
    "x - c": lambda x, c: x - c,
    "c - x": lambda x, c: c - x,
    "-x": lambda x, c: -x,
}
operators = st.sampled_from(list(OPERATORS))
TOKENS = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """`forward(net, x)`, with the parameters of a linear layer, a convolution and a constant."""

    def __init__(
        self, forward: Callable[[Net, Tensor], Tensor | tuple[Tensor, ...]], size: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.linear, self.conv, self.padded = (
            nn.Linear(6, 6), nn.Conv2d(4, 6, 2, bias=False), nn.Conv2d(4, 4, 3, padding=1, groups=2)
        )  # fmt: skip
        self.c = nn.Parameter(torch.ones(size))  # loud weights put it near 1
        self.function = forward

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(self, x)


@_FEW
@given(operators, st.sampled_from([(), (6,), (1, 1, 6)]))
def test_behind_a_linear_layer(name: str, size: tuple[int, ...]) -> None:
    net = Net(lambda net, x: OPERATORS[name](net.linear(x), net.c).relu(), size)
    assert applied(apply, net, TOKENS) == (1, {"linear": 1, "relu": 1})


@_FEW
@given(operators, st.sampled_from([(), (1,), (6, 1, 1), (1, 6, 1, 1)]))
def test_behind_a_convolution(name: str, size: tuple[int, ...]) -> None:
    net = Net(lambda net, x: OPERATORS[name](net.conv(x), net.c).relu(), size)
    assert applied(apply, net, IMAGE) == (1, {"conv2d": 1, "relu": 1})


@_FEW
@given(operators, st.sampled_from([(), (6,), (5, 6)]))
def test_ahead_of_a_linear_layer(name: str, size: tuple[int, ...]) -> None:
    net = Net(lambda net, x: net.linear(OPERATORS[name](x.relu(), net.c)), size)
    count, used = applied(apply, net, TOKENS)
    assert count == (0 if size == (5, 6) and name != "-x" else 1)
    assert used.total() == 3 - count


@_FEW
@given(operators, st.sampled_from([(), (4, 1, 1)]), st.booleans())
def test_ahead_of_a_convolution(name: str, size: tuple[int, ...], padded: bool) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return (net.padded if padded else net.conv)(OPERATORS[name](x.relu(), net.c))

    count, used = applied(apply, Net(forward, size), IMAGE)
    adds = name not in ("x * c", "c * x", "x / c", "-x")
    assert count == (0 if adds and padded else 1)
    assert used.total() == 3 - count


@pytest.mark.parametrize("size", [(2, 1, 1), (6,)])
def test_one_part_of_a_projection(size: tuple[int, ...]) -> None:
    """Queries, scaled, out of a projection that others read in part."""

    def forward(net: Net, x: Tensor) -> Tensor:
        y = net.linear(x)
        if size == (6,):
            return (y * net.c)[..., :2] * y[..., 2:4]
        q, k, v = y.unflatten(-1, (3, 2, 1)).permute(2, 0, 3, 1, 4)
        return (q * net.c) @ k.mT @ v

    count, used = applied(apply, Net(forward, size), TOKENS)
    assert (count, used["mul"]) == ((1, 0) if size == (2, 1, 1) else (0, 2))


def test_chains_go_into_one_layer() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        y = net.linear((x.relu() * net.c + 0.3) / 0.7)
        return net.conv(((2 - y * net.c) * -0.5).unflatten(1, (5, 1)).expand(-1, -1, 4, -1).mT)

    net = Net(forward, (6,))
    net.conv = nn.Conv2d(5, 6, 2)
    count, used = applied(apply, net, TOKENS)
    assert (count, used["mul"] + used["add"] + used["sub"] + used["div"]) == (6, 0)


SUMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "x + y": lambda x, y: x + y,
    "y + x": lambda x, y: y + x,
    "x - y": lambda x, y: x - y,
    "y - x": lambda x, y: y - x,
}


@pytest.mark.parametrize("name", SUMS)
def test_across_a_sum(name: str) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return SUMS[name](x.relu() + net.c, net.padded(x))

    count, used = applied(apply, Net(forward, (4, 1, 1)), IMAGE)
    assert (count, used.total()) == (1, 3)


@pytest.mark.parametrize("name", SUMS)
def test_behind_a_sum(name: str) -> None:
    """As behind a residual block that ends in a norm, in ConvMixer."""

    def forward(net: Net, x: Tensor) -> Tensor:
        return net.conv(SUMS[name](x.relu() + net.c, x.sigmoid()))

    count, used = applied(apply, Net(forward, (4, 1, 1)), IMAGE)
    assert (count, used.total()) == (1, 4)


@pytest.mark.parametrize(
    ("forward", "size"),
    [
        (lambda net, x: net.linear(x) * net.c, (5, 1)),  # by position
        (lambda net, x: net.linear(x) * net.c, (7, 1, 1, 1)),  # makes it larger
        (lambda net, x: net.linear(net.linear(x) * net.c), (6,)),  # a weight with two readers
        (lambda net, x: (net.linear(x) * net.c, net.linear(x).relu()), (6,)),
        (lambda net, x: net.c / net.linear(x), (6,)),
        (lambda net, x: net.linear((x.relu() * net.c).mean(1)), (5, 1)),
        (lambda net, x: net.linear(x) * x, (6,)),
        (lambda net, x: torch.nn.functional.linear(x, x[0] * net.c), (6,)),  # the weight's place
    ],
)  # fmt: skip
def test_stays(forward: Callable[[Net, Tensor], Tensor], size: tuple[int, ...]) -> None:
    net = Net(forward, size)
    used = counts(captured(net, TOKENS))
    assert applied(apply, net, TOKENS) == (0, used)


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: (x.relu() + net.c) + x.sigmoid(),  # no layer on either side
        lambda net, x: net.padded((x.relu() + net.c) + x.sigmoid()),
        lambda net, x: (y := x.relu() + net.c) + y.sigmoid() + net.padded(x),
        lambda net, x: net.conv((y := x.relu() + net.c) + y),
        lambda net, x: x.relu() * net.c + net.padded(x),
        lambda net, x: (x.relu() + net.c) + net.conv(x)[:, :4].mean((2, 3), keepdim=True),
    ],
)
def test_a_summand_stays(forward: Callable[[Net, Tensor], Tensor]) -> None:
    count, _ = applied(apply, Net(forward, (4, 1, 1)), IMAGE)
    assert count == 0


def test_an_output_stays_as_it_is() -> None:
    def forward(net: Net, x: Tensor) -> tuple[Tensor, ...]:
        y = net.linear(x)
        return y, y * net.c

    assert applied(apply, Net(forward, (6,)), TOKENS) == (0, {"linear": 1, "mul": 1})


def test_whole_numbers_stay() -> None:
    class Indices(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return -(x * 2 + 1)

    network = captured(Indices(), torch.arange(4))
    assert apply(network) == 0


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("wrong", ["scale", "shift"])
def test_wrong_folds_are_seen(name: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the scale taken for its inverse, or the shift for its negative."""
    right = folding.affine_of

    def wrong_affine(network, node):  # type: ignore[no-untyped-def]
        x, affine = right(network, node)  # type: ignore[misc]
        if wrong == "scale":
            return x, folding.Affine(-affine.scale, affine.shift)
        return x, folding.Affine(affine.scale, affine.shift + 1e-3)

    net = Net(lambda net, x: OPERATORS[name](net.linear(x), net.c), (6,))
    network = captured(net, TOKENS)
    before = network.evaluate(TOKENS)
    monkeypatch.setattr("converters.rewrite.affine.affine_of", wrong_affine)
    assert apply(network) == 1
    assert not same_function(network, before, (TOKENS,))
