"""The rounding of a source, against cases whose rounding is known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from converters.bisection.rounding import with_rounding
from converters.bisection.source_trace import SourceValue, trace_source


class Cancelling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x + 1000) - 1000


class Stubborn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        return x.exp()


class Casting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.float() * 3).sin()


def rounded(module: nn.Module, x: Tensor) -> tuple[SourceValue, ...]:
    return with_rounding(trace_source(module, [x], {}), module, [x], {}).values


def test_a_difference_of_large_numbers_is_noisy() -> None:
    x = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    _, added, difference = rounded(Cancelling(), x)
    assert added.rounding < 2e-7  # a unit in the last place
    exact = (added.array.astype("float64") - 1000) - x.numpy().astype("float64")
    assert 0.9 < difference.rounding / (abs(exact).max() / x.max().item()) < 1.1


def test_a_source_that_insists_on_single_precision_gets_a_fixed_figure() -> None:
    _, value = rounded(Stubborn(), torch.rand(10))
    assert value.rounding > 1e-6


def test_casts_that_double_precision_does_not_make_are_passed_over() -> None:
    x = torch.rand(100, generator=torch.Generator().manual_seed(0))
    for value in rounded(Casting(), x)[1:]:
        assert value.rounding < 1e-6, value.operator
