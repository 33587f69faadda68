"""Means over channels as linear layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters.rewrite.mean_as_linear import apply
from tests.converters.rewrite.graphs import applied, captured, same_function


class Net(nn.Module):
    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


X = torch.randn(2, 6, 4, 5, generator=torch.Generator().manual_seed(0))
MEANS: dict[str, tuple[Callable[[Tensor], Tensor], dict[str, int]]] = {
    "last axis": (lambda x: x.mean(-1, keepdim=True), {"linear": 1}),
    "dropped": (lambda x: x.mean(-1), {"linear": 1, "reshape": 1}),
    "with epsilon": (lambda x: (x.mean(3, keepdim=True) + 9).rsqrt(), {"linear": 1, "rsqrt": 1}),
    "and more": (lambda x: x.mean(3, keepdim=True) + x, {"linear": 1, "add": 1}),
    "a map's channels": (lambda x: x.mean(1, keepdim=True) + 1, {"linear": 1, "permute": 2}),
    "read twice": (
        lambda x: (y := x.mean(3, keepdim=True)) * (y + 1),
        {"linear": 1, "add": 1, "mul": 1},
    ),
}
STAYING: dict[str, Callable[[Tensor], Tensor]] = {
    "a map": lambda x: x.mean((2, 3)),
    "rows": lambda x: x.mean(2, keepdim=True),
    "tokens": lambda x: x.flatten(2).mean(1, keepdim=True),
    "all": lambda x: x.mean(),
}


@pytest.mark.parametrize("name", MEANS)
def test_means_over_channels(name: str) -> None:
    function, expected = MEANS[name]
    assert applied(apply, Net(function), X) == (1, expected)


@settings(deadline=None, max_examples=15)
@given(
    shape=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    keep=st.booleans(),
    added=st.sampled_from([0.0, 1e-6, -3.0]),
    of_map=st.booleans(),
)
def test_any_size(shape: list[int], keep: bool, added: float, of_map: bool) -> None:
    axis = 1 if of_map and len(shape) == 4 else -1
    net = Net(lambda x: (x.mean(axis, keepdim=keep) + added).sin())
    count, used = applied(apply, net, torch.randn(shape))
    left = 0 if keep else 1  # a number that is added behind a reshape stays there
    assert (count, used["linear"], used["mean"], used["add"]) == (1, 1, 0, left)


@pytest.mark.parametrize("name", STAYING)
def test_other_means_stay(name: str) -> None:
    count, used = applied(apply, Net(STAYING[name]), X)
    assert (count, used["mean"]) == (0, 1)


def test_a_wrong_row_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    network = captured(Net(MEANS["last axis"][0]), X)
    before = network.evaluate(X)
    full = torch.full
    monkeypatch.setattr(torch, "full", lambda shape, value, **kw: full(shape, value * 1.001, **kw))
    assert apply(network) == 1
    assert not same_function(network, before, (X,))
