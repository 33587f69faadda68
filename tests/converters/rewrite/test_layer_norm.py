"""Layer norms spelled out, in numbers and in operators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from converters.loud import loud_weights_
from converters.rewrite import layer_norm
from converters.rewrite.layer_norm import apply
from tests.converters.rewrite.graphs import applied, captured, relative_error, same_function

_SPELLED = {"mean": 2, "sub": 1, "pow": 1, "add": 1, "rsqrt": 1, "mul": 1}


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.integers(1, 2),
    st.floats(1e-7, 1e-1),
    st.booleans(),
    st.booleans(),
)
def test_same_function(shape: list[int], axes: int, eps: float, affine: bool, bias: bool) -> None:
    net = nn.LayerNorm(shape[-axes:], eps, elementwise_affine=affine, bias=bias)
    expected = _SPELLED | {"mean": 2 * axes, "mul": 1 + affine, "add": 1 + (affine and bias)}
    assert applied(apply, net, torch.randn(*shape)) == (1, expected)


@pytest.mark.parametrize(
    ("norm", "means"),
    [(nn.GroupNorm(1, 6), 4), (nn.GroupNorm(3, 6), 4), (nn.InstanceNorm2d(6, affine=True), 4)],
)
def test_norms_over_positions(norm: nn.Module, means: int) -> None:
    """The mean over positions comes first: no operator reads a whole map in one row."""
    network = captured(loud_weights_(norm), torch.randn(2, 6, 4, 3))
    x = torch.randn(2, 6, 4, 3)
    before = network.evaluate(x)
    assert apply(network) == 1
    assert same_function(network, before, (x,))
    found = network.calls(torch.ops.aten.mean.dim)
    rank = found[0].meta["val"].ndim
    axes = [[rank - 2, rank - 1], [rank - 3]]
    assert [node.args[1] for node in found] == axes * 2 and len(found) == means


def test_in_single_precision() -> None:
    """With a mean a thousand times the deviation, mean(x^2) - mean(x)^2 would keep one digit."""
    x = 1000 + torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
    network = captured(nn.LayerNorm(96, elementwise_affine=False), x)
    (exact,) = network.evaluate(x)
    apply(network)
    (spelled,) = network.module()(x)
    deviation = x.double().numpy() - x.double().numpy().mean(-1, keepdims=True)
    by_numpy = deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + 1e-5)
    assert relative_error([exact], [torch.from_numpy(by_numpy)]) < 1e-12
    assert relative_error([spelled.double()], [exact]) < 1e-4


def test_a_forgotten_epsilon_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 8)
    network = captured(loud_weights_(nn.LayerNorm(8, eps=1e-6)), x)
    before = network.evaluate(x)
    (norm,) = network.calls(torch.ops.aten.layer_norm.default)
    monkeypatch.setattr(norm, "args", (*norm.args[:4], 0.0))
    assert apply(network) == 1
    assert not same_function(network, before, (x,))


def test_a_mean_over_the_wrong_axis_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def mean(network, x, norm):  # type: ignore[no-untyped-def]
        return network.call(torch.ops.aten.mean.dim, x, [0], True, at=norm)

    x = torch.randn(8, 8)
    network = captured(loud_weights_(nn.LayerNorm(8)), x)
    before = network.evaluate(x)
    monkeypatch.setattr(layer_norm, "_mean", mean)
    assert apply(network) == 1
    assert not same_function(network, before, (x,))
