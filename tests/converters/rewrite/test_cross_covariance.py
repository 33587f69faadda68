"""Attention between channels with its lengths divided out of the logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters.rewrite import cross_covariance
from tests.converters.rewrite.places import Outcome, outcome

Logits = Callable[[Tensor, Tensor], Tensor]
TEMPERATURE = torch.tensor([0.5, 2.0]).reshape(2, 1, 1)


class Function(nn.Module):
    def __init__(self, logits: Logits) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        return self.logits(q, k).softmax(-1)


def unit(x: Tensor, axis: int = -1, eps: float = 1e-12) -> Tensor:
    return F.normalize(x, dim=axis, eps=eps)


def xca(q: Tensor, k: Tensor) -> Tensor:
    return (unit(q) @ unit(k).transpose(-2, -1)) * TEMPERATURE


def scaled(logits: Logits, *shape: int) -> Outcome:
    torch.manual_seed(0)
    q, k = (torch.randn(shape or (2, 2, 3, 11)) for _ in range(2))
    return outcome(cross_covariance.apply, Function(logits), q, k)


@settings(deadline=None, max_examples=8)
@given(b=st.integers(1, 2), d=st.integers(1, 5), n=st.integers(6, 30))
def test_logits_are_scaled(b: int, d: int, n: int) -> None:
    done = scaled(xca, b, 2, d, n)
    assert done.is_same and done.places == 1
    assert done.change["div"] == -2 and done.change["sqrt"] == -2
    assert done.change["rsqrt"] == 2 and done.change["mean"] == 2
    assert done.change["mul"] == 2  # by either length; the temperature's was there
    pools = done.network.calls(torch.ops.aten.mean.dim)
    assert all(pool.args[1] == [2, 3] for pool in pools)


FORMS: dict[str, Logits] = {
    "no temperature": lambda q, k: unit(q) @ unit(k).transpose(-2, -1),
    "a quotient": lambda q, k: (unit(q) @ unit(k).transpose(-2, -1)) / TEMPERATURE,
    "a temperature of rows": lambda q, k: (
        unit(q) @ unit(k).transpose(-2, -1) * torch.tensor([[1.0], [2.0], [4.0]])
    ),
    "a temperature of columns": lambda q, k: (
        unit(q) @ unit(k).transpose(-2, -1) * torch.tensor([1.0, 2.0, 4.0])
    ),
    "queries alone": lambda q, k: unit(q) @ k.transpose(-2, -1),
    "keys alone": lambda q, k: (q @ unit(k).transpose(-2, -1)) * TEMPERATURE,
    "turned before": lambda q, k: (
        unit(q) @ unit(k.transpose(-2, -1).contiguous(), axis=-2)
    ),
    "no smallest length": lambda q, k: (
        (q / q.norm(dim=-1, keepdim=True)) @ unit(k).transpose(-2, -1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("logits", FORMS.values(), ids=FORMS)
def test_forms(logits: Logits) -> None:
    done = scaled(logits)
    assert done.is_same and done.places == 1 and "rsqrt" in done.change


@pytest.mark.parametrize("factor", [0.0, 1e-3])
def test_short_vectors_keep_the_smallest_length(factor: float) -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 2, 3, 11).unbind()
    q[0, 0, 1] *= factor

    def logits(q: Tensor, k: Tensor) -> Tensor:
        return unit(q, eps=0.1) @ unit(k, eps=0.1).transpose(-2, -1)

    done = outcome(cross_covariance.apply, Function(logits), q, k)
    assert done.is_same and done.places == 1


STAYS: dict[str, Logits] = {
    "along another axis": lambda q, k: unit(q, -2) @ unit(k, -2).transpose(-2, -1),
    "another norm": lambda q, k: (
        F.normalize(q, p=1.0, dim=-1) @ F.normalize(k, p=1.0, dim=-1).transpose(-2, -1)
    ),
    "another power": lambda q, k: (
        (q / q.pow(1.5).sum(-1, keepdim=True).sqrt()) @ k.transpose(-2, -1)
    ),
    "the length of another": lambda q, k: (
        (q / k.norm(dim=-1, keepdim=True)) @ k.transpose(-2, -1)
    ),
    "a largest length": lambda q, k: (
        (q / q.norm(dim=-1, keepdim=True).clamp(0.1, 2.0)) @ k.transpose(-2, -1)
    ),
    "a smallest length that is 0 when squared": lambda q, k: (
        unit(q, eps=1e-20) @ k.transpose(-2, -1)
    ),
    "others read it": lambda q, k: (lambda u: u @ u.transpose(-2, -1))(unit(q)),
}  # fmt: skip


@pytest.mark.parametrize("logits", STAYS.values(), ids=STAYS)
def test_stays(logits: Logits) -> None:
    assert scaled(logits).places == 0


def test_more_logits_than_numbers_stay() -> None:
    assert scaled(xca, 2, 2, 11, 3).places == 0


def test_a_temperature_that_is_forgotten_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    right = cross_covariance._temperature

    def wrong(*operands: Any) -> Any:
        found = right(*operands)
        return found and (found[0], torch.ones_like(found[1]))

    monkeypatch.setattr(cross_covariance, "_temperature", wrong)
    assert not scaled(xca).is_same


def test_a_smallest_length_that_is_forgotten_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    right = cross_covariance._normalised

    def wrong(*operands: Any) -> Any:
        found = right(*operands)
        return found and dataclasses.replace(found, eps=found.eps / 2)

    monkeypatch.setattr(cross_covariance, "_normalised", wrong)
    assert not scaled(lambda q, k: unit(q, eps=9.0) @ k.transpose(-2, -1)).is_same
