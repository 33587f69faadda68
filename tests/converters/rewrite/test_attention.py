"""Attention spelled out: masks, scales and shapes of PyTorch's operator."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters.rewrite import attention
from tests.converters.rewrite.graphs import captured
from tests.converters.rewrite.places import outcome


class Attention(nn.Module):
    def __init__(self, mask: Tensor | None = None, **options: float | bool) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.options = options

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        mask = self.mask if mask is None else mask
        return F.scaled_dot_product_attention(q, k, v, mask, **self.options)  # type: ignore[arg-type]


def operands(*batch: int, n: int = 5, m: int = 7, d: int = 3, e: int = 4) -> list[Tensor]:
    torch.manual_seed(n * m + d)
    return [torch.randn(*batch, n, d), torch.randn(*batch, m, d), torch.randn(*batch, m, e)]


@settings(deadline=None, max_examples=12)
@given(
    batch=st.sampled_from([(), (2,), (2, 3), (1, 2, 2)]),
    n=st.integers(1, 6),
    m=st.integers(1, 6),
    d=st.integers(1, 8),
    scale=st.sampled_from([None, 1.0, 0.3, -2.0]),
)
def test_is_the_operator(
    batch: tuple[int, ...], n: int, m: int, d: int, scale: float | None
) -> None:
    done = outcome(attention.apply, Attention(scale=scale), *operands(*batch, n=n, m=m, d=d))
    assert done.is_same and done.places == 1
    assert done.change["matmul"] == 2 and done.change["softmax"] == 1
    assert done.change["scaled_dot_product_attention"] == -1
    assert done.change.get("mul", 0) == (scale != 1 and (scale is not None or d != 1))


MASKS = {
    "added": torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(1)),
    "boolean": torch.tensor([[i != j for j in range(7)] for i in range(5)]),
    "boolean of keys": torch.tensor([[True, False, True, True, False, True, True]]),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_constant_masks(mask: Tensor) -> None:
    done = outcome(attention.apply, Attention(mask), *operands(2, 3))
    assert done.is_same and done.places == 1
    assert done.change["add"] == 1


def test_mask_that_is_an_input() -> None:
    done = outcome(attention.apply, Attention(), *operands(2, 3), torch.randn(5, 7))
    assert done.is_same and done.places == 1


@pytest.mark.parametrize(("n", "m"), [(5, 7), (7, 5)])
def test_causal(n: int, m: int) -> None:
    done = outcome(attention.apply, Attention(is_causal=True), *operands(2, n=n, m=m))
    assert done.is_same and done.places == 1


@pytest.mark.parametrize(
    ("n", "m", "d", "size"), [(2, 9, 5, 2 * 5), (9, 2, 5, 2 * 5), (3, 3, 8, 3 * 3)]
)
def test_scale_is_on_what_is_smallest(n: int, m: int, d: int, size: int) -> None:
    done = outcome(attention.apply, Attention(), *operands(1, n=n, m=m, d=d))
    (product,) = done.network.calls(torch.ops.aten.mul.Tensor)
    assert math.prod(product.meta["val"].shape) == size


def test_row_of_a_mask_that_allows_nothing_stays_with_the_operator() -> None:
    mask = MASKS["boolean"].clone()
    mask[2] = False
    assert outcome(attention.apply, Attention(mask), *operands(2, 3)).places == 0


@pytest.mark.parametrize(
    ("options", "inputs"),
    [
        ({"dropout_p": 0.5}, operands(2, 3)),
        ({"enable_gqa": True}, [torch.randn(1, 4, 5, 3), *[torch.randn(1, 2, 5, 3)] * 2]),
    ],
    ids=["dropout", "groups"],
)
def test_stays(options: dict[str, float | bool], inputs: list[Tensor]) -> None:
    assert attention.apply(captured(Attention(**options), *inputs)) == 0


def test_boolean_mask_that_is_an_input_stays() -> None:
    mask = torch.ones(5, 7, dtype=torch.bool)
    assert attention.apply(captured(Attention(), *operands(2, 3), mask)) == 0


@pytest.mark.parametrize(
    ("name", "value"), [("_FORBIDDEN", 0.0), ("_scale", lambda *_: 1.0)], ids=["mask", "scale"]
)
def test_a_wrong_constant_shows(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    monkeypatch.setattr(attention, name, value)
    assert not outcome(attention.apply, Attention(is_causal=True), *operands(2)).is_same
