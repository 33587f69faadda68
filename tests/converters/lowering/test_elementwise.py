from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.lowering.program import NotCovered
from tests.converters.lowering.lowered import kinds, loud, lowered, normal

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardswish": F.hardswish,
    "abs": torch.abs,
    "negate": torch.neg,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "exp": torch.exp,
    "log": torch.log,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "sin": torch.sin,
    "cos": torch.cos,
    "gelu": F.gelu,
    "square": torch.square,
    "elu": F.elu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.3),
    "clamp": lambda x: x.clamp(-0.5, 0.25),
}


@pytest.mark.parametrize("kind", _UNARY)
def test_one_operand(kind: str) -> None:
    """In whatever order the operand lies: nothing moves but the output."""

    def turned(x: Tensor) -> Tensor:
        x = x.transpose(1, 3)
        x = x + 10 if kind in ("sqrt", "rsqrt", "log") else x  # positive numbers
        return _UNARY[kind](x).transpose(1, 3)

    program = lowered(turned, normal(2, 3, 4, 5))
    assert kinds(program)[kind] == 1
    assert not kinds(program)["transpose"]


_COMPOSED: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "at least": lambda x: x.clamp(min=0.1),
    "at most": lambda x: x.clamp(max=0.1),
    "silu": F.silu,
    "tanh gelu": lambda x: F.gelu(x, approximate="tanh"),
    "hardsigmoid": F.hardsigmoid,
    "reciprocal": lambda x: torch.reciprocal(x + 10),
    "number on the left": lambda x: 3 - x,
    "divided number": lambda x: 2 / (x + 10),
    "root": lambda x: (x + 10) ** 0.5,
    "cube": lambda x: x**3,
    "one channel's factor": lambda x: x * torch.arange(4.0)[:, None, None],
}


@pytest.mark.parametrize("name", _COMPOSED)
def test_spelled_with_others(name: str) -> None:
    lowered(_COMPOSED[name], normal(2, 4, 3, 5))


@pytest.mark.parametrize(
    "function",
    [torch.add, torch.sub, torch.mul, lambda x, y: x / (y + 10), torch.maximum, torch.minimum],
)
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((2, 3, 4, 5), (2, 3, 4, 5)),
        ((2, 3, 4, 5), (4, 5)),
        ((4, 1), (2, 3, 4, 5)),
        ((5, 1), (1, 7)),
        ((2, 1, 4, 1), (3, 1, 5)),
        ((1,), (1, 1)),
        ((6,), (2, 6)),
    ],
)
def test_two_operands(
    function: Callable[..., Tensor], left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    lowered(function, normal(*left), normal(*right, seed=1))


def test_operands_of_different_order() -> None:
    program = lowered(lambda x, y: x + y.transpose(1, 2), normal(2, 3, 5), normal(2, 5, 3, seed=1))
    assert kinds(program) == {"transpose": 1, "add": 1}


def test_operands_of_uneven_factors() -> None:
    def function(x: Tensor, y: Tensor) -> Tensor:
        return x.permute(1, 0, 2).reshape(24, 5) + y.permute(1, 0, 2).reshape(24, 5)

    lowered(function, normal(6, 4, 5), normal(4, 6, 5, seed=1))


def test_an_array_and_its_transpose() -> None:
    lowered(lambda x: x * x.transpose(0, 1) - x, normal(4, 4))


@pytest.mark.parametrize("first", [True, False])
def test_a_channel_gate_follows_the_map(first: bool) -> None:
    network = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 6, 1))

    def gated(x: Tensor) -> Tensor:
        y = network[0](x)
        gate = network[1](y.mean((2, 3), keepdim=True)).sigmoid()
        return gate * y if first else y * gate

    module = _Module(gated, loud(network))
    assert kinds(lowered(module, normal(2, 4, 7, 9)))["transpose"] == 2  # input, output


class _Module(nn.Module):
    def __init__(self, function: Callable[..., Any], inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 6), (2, 4, 6, 5)])
def test_batch_norm_that_was_not_folded(shape: tuple[int, ...], affine: bool) -> None:
    norm = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d)[len(shape) - 2]
    program = lowered(loud(norm(4, affine=affine)), normal(*shape))
    assert kinds(program) == {"multiply": 1, "add": 1}


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: F.selu(x), "no rule for aten.selu.default"),
        (lambda x: F.celu(x, 2.0), "no rule for aten.celu.default"),
        (lambda x: x**2.5, "a power of 2.5"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), "no rule for aten.div.Tensor_mode"),
        (lambda x: x.bool().float(), "values of type bool"),
        (lambda x: x[:, :0], "values without extent"),
        (lambda x: torch.rand_like(x) + x, "no rule for aten.rand_like.default"),
    ],
)
def test_not_covered(function: Callable[[Tensor], Tensor], reason: str) -> None:
    with pytest.raises(NotCovered, match=reason):
        lowered(function, normal(2, 4))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 1), (2, 3, 4)])
def test_constants_on_either_side(shape: tuple[int, ...]) -> None:
    """One that is larger than the value decides the shape, not the order of the operands."""
    constant = normal(1, 3, 4)
    lowered(lambda x: (x - constant, constant - x), normal(*shape, seed=1))
