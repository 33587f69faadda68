"""Factors on queries, keys and logits, found in the weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters.rewrite import attention_scale, folding
from tests.converters.rewrite.modules import SIZES, by_head
from tests.converters.rewrite.places import Outcome, outcome

B, N, H, D = 2, 9, 3, 4
SCALE = D**-0.5
BY_HEAD = torch.tensor([0.5, 2.0, 3.0]).reshape(H, 1, 1)
BY_CHANNEL = torch.rand(D, generator=torch.Generator().manual_seed(0)) + 0.5

Logits = Callable[[Tensor, Tensor], Tensor]


class Layers(nn.Module):
    """q (B, H, N, D) and k^T (B, H, D, N) from linear layers, or as they come; logits of them."""

    def __init__(self, logits: Logits, q: bool = True, k: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q = nn.Linear(7, H * D) if q else nn.Identity()
        self.k = nn.Linear(7, H * D) if k else nn.Identity()
        self.logits = logits
        self.register_buffer("by_head", BY_HEAD)
        self.register_buffer("by_channel", BY_CHANNEL)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        q = self.q(x).reshape(B, N, H, D).transpose(1, 2)
        k = self.k(y).reshape(B, N, H, D).permute(0, 2, 3, 1)
        return self.logits(q, k).softmax(-1)


def moved(logits: Logits, q: bool = True, k: bool = True) -> Outcome:
    inputs = (torch.randn(B, N, 7 if q else H * D), torch.randn(B, N, 7 if k else H * D))
    return outcome(attention_scale.apply, Layers(logits, q, k), *inputs)


FACTORS: dict[str, Logits] = {
    "on queries": lambda q, k: (q * SCALE) @ k,
    "before queries": lambda q, k: (SCALE * q) @ k,
    "quotient": lambda q, k: (q / 2.0) @ k,
    "on keys": lambda q, k: q @ (k * SCALE),
    "on logits": lambda q, k: (q @ k) * SCALE,
    "quotient of logits": lambda q, k: (q @ k) / 2.0,
    "of heads": lambda q, k: (q @ k) * BY_HEAD,
    "of heads, flattened": lambda q, k: (
        ((q.flatten(0, 1) @ k.flatten(0, 1)).reshape(B, H, N, N)) * BY_HEAD
    ),
    "of channels": lambda q, k: (q * BY_CHANNEL) @ k,
    "baddbmm": lambda q, k: torch.baddbmm(
        BY_HEAD.repeat(B, 1, 1), q.flatten(0, 1), k.flatten(0, 1), alpha=SCALE
    ),
}


@pytest.mark.parametrize("logits", FACTORS.values(), ids=FACTORS)
def test_factor_goes_into_weights(logits: Logits) -> None:
    done = moved(logits)
    assert done.is_same and done.places == 1
    assert done.change in ({"mul": -1}, {"div": -1})


class Sized(nn.Module):
    """Attention logits of any size, with a factor on one of three values."""

    def __init__(self, heads: int, width: int, scale: float, place: str, bias: bool) -> None:
        super().__init__()
        self.q, self.k = (nn.Linear(5, heads * width, bias=bias) for _ in range(2))
        self.heads, self.scale, self.place = heads, scale, place

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        q, k = by_head(self.q, x, self.heads), by_head(self.k, y, self.heads)
        if self.place == "logits":
            return (q @ k.transpose(-2, -1)) * self.scale
        q, k = (q * self.scale, k) if self.place == "queries" else (q, k * self.scale)
        return q @ k.transpose(-2, -1)


@settings(deadline=None, max_examples=15)
@given(
    **SIZES,
    scale=st.sampled_from([0.25, -1.5, 1e-3, 30.0]),
    place=st.sampled_from(["queries", "keys", "logits"]),
    bias=st.booleans(),
)
def test_any_size(
    batch: int, heads: int, width: int, queries: int, keys: int, scale: float, place: str,
    bias: bool,
) -> None:  # fmt: skip
    module = Sized(heads, width, scale, place, bias)
    inputs = torch.randn(batch, queries, 5), torch.randn(batch, keys, 5)
    done = outcome(attention_scale.apply, module, *inputs)
    assert done.is_same and done.places == 1 and done.change == {"mul": -1}


def test_every_factor_goes() -> None:
    done = moved(lambda q, k: ((q * SCALE) @ (k / 3.0)) * BY_HEAD)
    assert done.is_same and done.places == 3


@pytest.mark.parametrize("name", ["on queries", "on logits"])
def test_where_queries_come_from_no_layer_keys_take_the_factor(name: str) -> None:
    done = moved(FACTORS[name], q=False)
    assert done.is_same and done.places == 1 and done.change == {"mul": -1}


def test_without_layers_logits_hand_it_to_an_operand() -> None:
    done = moved(FACTORS["of heads"], q=False, k=False)
    assert done.is_same and done.places == 1 and done.change == {}
    (product,) = done.network.calls(torch.ops.aten.mul.Tensor)
    assert product.meta["val"].numel() == B * H * N * D


class Joint(nn.Module):
    """q and k from one projection: the factor belongs to the rows of q alone."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.qk = nn.Conv2d(3, 2 * D, kernel, padding=kernel // 2)
        self.dw = nn.Conv2d(D, D, 3, padding=1, groups=D)

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.qk(x).chunk(2, dim=1)
        q = self.dw(q) if self.dw is not None else q
        return (q.flatten(2).transpose(1, 2) @ k.flatten(2)) * SCALE


@pytest.mark.parametrize("depthwise", [True, False])
def test_rows_of_a_joint_projection(depthwise: bool) -> None:
    module = Joint(3)
    if not depthwise:
        module.dw = None
    done = outcome(attention_scale.apply, module, torch.randn(2, 3, 4, 5))
    assert done.is_same and done.places == 1 and done.change == {"mul": -1}


STAYS: dict[str, Logits] = {
    "differs between queries": lambda q, k: (q @ k) * torch.arange(1.0, N + 1)[:, None],
    "differs between keys": lambda q, k: (q @ k) * torch.arange(1.0, N + 1),
    "differs between positions of queries": lambda q, k: q * torch.arange(1.0, N + 1)[:, None] @ k,
    "not constant": lambda q, k: (q @ k) * k.mean(),
    "numerator": lambda q, k: 2.0 / (q @ k),
    "no product": lambda q, k: q.flatten(2)[:, :, :N] * SCALE + k.flatten(2)[:, :, :N],
}


@pytest.mark.parametrize("logits", STAYS.values(), ids=STAYS)
def test_stays(logits: Logits) -> None:
    assert moved(logits).places == 0


def test_what_others_read_is_not_scaled() -> None:
    done = moved(lambda q, k: (q @ k) * SCALE + q.sum(-1, keepdim=True) + k.sum(-2, keepdim=True))
    assert done.is_same and done.places == 1  # on to the smaller operand
    assert done.change == {}


def test_queries_that_others_read_keep_their_factor() -> None:
    def logits(q: Tensor, k: Tensor) -> Tensor:
        q = q * SCALE
        return q @ k + q.sum(-1, keepdim=True).sin()

    assert moved(logits, q=False).places == 0


def test_logits_that_others_read_are_not_scaled() -> None:
    def logits(q: Tensor, k: Tensor) -> Tensor:
        product = q @ k
        return product * SCALE + product.sigmoid()

    assert moved(logits).places == 0


def test_a_row_that_is_forgotten_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    right = folding.Affine

    def wrong(scale: Tensor, shift: Tensor) -> folding.Affine:
        return right(scale.expand(B, H, N, D) * (torch.arange(D) > 0), shift)

    monkeypatch.setattr(attention_scale, "Affine", wrong)
    assert not moved(FACTORS["on queries"]).is_same
