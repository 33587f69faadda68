"""The output projection of attention between channels, in its matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from converters.rewrite import projected_attention
from tests.converters.rewrite.places import Outcome, outcome

Join = Callable[[Tensor], Tensor]


class Attention(nn.Module):
    """Weights (B, H, D, D) times values (B, H, D, N), joined and projected."""

    def __init__(self, layer: nn.Module, join: Join) -> None:
        super().__init__()
        self.layer = layer
        self.join = join

    def forward(self, weights: Tensor, values: Tensor) -> Tensor:
        return self.layer(self.join(weights.softmax(-1) @ values))


def tokens(y: Tensor) -> Tensor:
    """(B, H, D, N) -> (B, N, H*D), as in EdgeNeXt and XCiT."""
    return y.flatten(1, 2).transpose(1, 2)


def projected(
    layer: nn.Module, join: Join, b: int = 2, h: int = 3, d: int = 4, n: int = 20
) -> Outcome:
    torch.manual_seed(0)
    inputs = (torch.randn(b, h, d, d), torch.randn(b, h, d, n))
    return outcome(projected_attention.apply, Attention(layer, join), *inputs)


@settings(deadline=None, max_examples=8)
@given(
    b=st.integers(1, 2), h=st.integers(1, 3), d=st.integers(2, 4), width=st.integers(1, 9),
    bias=st.booleans(),
)  # fmt: skip
def test_projection_goes_into_the_matrix(b: int, h: int, d: int, width: int, bias: bool) -> None:
    done = projected(nn.Linear(h * d, width, bias=bias), tokens, b, h, d, n=10)
    assert done.is_same and done.places == 1
    assert done.change["linear"] == -1 and done.change["matmul"] == 1
    assert done.change.get("add", 0) == bias


JOINS: dict[str, Join] = {
    "tokens": tokens,
    "channels first": lambda y: y.permute(0, 3, 1, 2).reshape(2, 20, 12),
    "channels of a head side by side": lambda y: y.permute(0, 3, 2, 1).reshape(2, 20, 12),
    "a map of tokens": lambda y: y.permute(0, 3, 1, 2).reshape(2, 4, 5, 12),
    "batches in one": lambda y: y.permute(0, 3, 1, 2).reshape(40, 12),
}


@pytest.mark.parametrize("join", JOINS.values(), ids=JOINS)
def test_orders_of_channels(join: Join) -> None:
    done = projected(nn.Linear(12, 7), join)
    assert done.is_same and done.places == 1


def test_heads_as_positions_share_the_projection() -> None:
    done = projected(nn.Linear(4, 7), lambda y: y.transpose(-2, -1))
    assert done.is_same and done.places == 1


def test_convolution() -> None:
    done = projected(nn.Conv2d(12, 7, 1), lambda y: y.reshape(2, 12, 4, 5))
    assert done.is_same and done.places == 1


STAYS: dict[str, tuple[nn.Module, Join]] = {
    "as many channels as positions": (nn.Linear(12, 20), tokens),
    "positions are read as channels": (nn.Linear(20, 7), lambda y: y),
    "positions in another order": (
        nn.Linear(12, 7),
        lambda y: tokens(y).reshape(2, 4, 5, 12).transpose(1, 2),
    ),
    "half of the positions": (nn.Linear(12, 7), lambda y: tokens(y)[:, :10]),
    "not linear": (nn.Linear(12, 7), lambda y: tokens(y.relu())),
    "groups": (nn.Conv2d(12, 6, 1, groups=3), lambda y: y.reshape(2, 12, 4, 5)),
    "3x3": (nn.Conv2d(12, 6, 3), lambda y: y.reshape(2, 12, 4, 5)),
    "stride": (nn.Conv2d(12, 6, 1, stride=2), lambda y: y.reshape(2, 12, 4, 5)),
}


@pytest.mark.parametrize(("layer", "join"), STAYS.values(), ids=STAYS)
def test_stays(layer: nn.Module, join: Join) -> None:
    assert projected(layer, join).places == 0


def test_a_result_that_others_read_stays() -> None:
    class Both(Attention):
        def forward(self, weights: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            y = weights @ values
            return self.layer(tokens(y)), y

    inputs = (torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 20))
    module = Both(nn.Linear(12, 7), tokens)
    assert outcome(projected_attention.apply, module, *inputs).places == 0


def test_attention_between_tokens_stays() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(12, 7)

        def forward(self, weights: Tensor, values: Tensor) -> Tensor:
            return self.layer((weights @ values).transpose(1, 2).flatten(2))

    inputs = (torch.randn(1, 3, 20, 20), torch.randn(1, 3, 20, 4))
    assert outcome(projected_attention.apply, Tokens(), *inputs).places == 0


def test_heads_in_another_order_show(monkeypatch: pytest.MonkeyPatch) -> None:
    right = projected_attention._by_head

    def wrong(*operands: Any) -> fx.Node:
        node = right(*operands)
        value = operands[0].value(node)
        value.copy_(value.flip(1))
        return node

    monkeypatch.setattr(projected_attention, "_by_head", wrong)
    assert not projected(nn.Linear(12, 7), tokens).is_same
