from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.lowering.program import NotCovered
from tests.converters.lowering.lowered import kinds, loud, lowered, normal


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6), (2, 3, 4, 6)])
def test_linear(shape: tuple[int, ...], bias: bool) -> None:
    program = lowered(loud(nn.Linear(6, 5, bias)), normal(*shape))
    assert not kinds(program)["transpose"]
    assert kinds(program)["fully_connected"] == 1


@pytest.mark.parametrize(("k", "n"), [(1, 5), (6, 1), (1, 1)])
def test_linear_with_one_channel(k: int, n: int) -> None:
    lowered(loud(nn.Linear(k, n)), normal(2, 3, k))


def test_linear_over_another_axis() -> None:
    linear = loud(nn.Linear(30, 7))
    program = lowered(lambda x: linear(x.transpose(1, 2)).transpose(1, 2), normal(2, 30, 5))
    assert kinds(program) == {"transpose": 2, "fully_connected": 1}


def test_linear_on_a_flattened_map_follows_its_order() -> None:
    """Columns of the weight are moved at conversion, not the map in each run."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 5 * 6, 10))
    program = lowered(loud(network), normal(2, 3, 7, 8))
    assert kinds(program)["transpose"] == 1  # that of the input


@pytest.mark.parametrize(
    ("channels", "bias", "copies"), [(4, False, 0), (4, True, 0), (40, False, 0), (40, True, 2)]
)
def test_linear_over_the_outermost_axis(channels: int, bias: bool, copies: int) -> None:
    """As in the mixing of attention heads: weight times x^T, where that is no dearer."""
    linear = loud(nn.Linear(channels, channels, bias))

    def mixed(x: Tensor) -> Tensor:
        return linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    program = lowered(mixed, normal(1, channels, 5, 7))
    assert kinds(program)["transpose"] == copies
    assert kinds(program)["batch_matmul"] == (copies == 0)


def test_linear_with_a_computed_weight() -> None:
    lowered(lambda x, w, b: F.linear(x, w, b), normal(2, 3, 6), normal(5, 6), normal(5))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((4, 5), (5, 6)),
        ((2, 4, 5), (2, 5, 6)),
        ((2, 3, 4, 5), (2, 3, 5, 6)),
        ((2, 3, 4, 5), (5, 6)),
        ((4, 5), (2, 5, 6)),
        ((2, 3, 4, 5), (2, 1, 5, 6)),
        ((2, 1, 4, 5), (1, 3, 5, 6)),
        ((3, 4, 5), (2, 3, 5, 6)),
        ((2, 4, 1), (2, 1, 6)),
        ((2, 1, 5), (2, 5, 1)),
        ((1, 4, 5), (1, 5, 6)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (4,)),
    ],
)
@pytest.mark.parametrize("constant", [None, 0, 1])
def test_products(left: tuple[int, ...], right: tuple[int, ...], constant: int | None) -> None:
    """With a batch that both, one or neither has, and with a constant on either side."""
    a, b = normal(*left), normal(*right, seed=1)
    if constant is None:
        lowered(torch.matmul, a, b)
    elif constant == 0:
        lowered(lambda x: a @ x, b)
    else:
        lowered(lambda x: x @ b, a)


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
def test_products_of_transposes(transposed: tuple[bool, bool]) -> None:
    """One of the two may be turned without a copy; with both the product itself is."""
    shapes = [(2, 5, 4) if transposed[0] else (2, 4, 5), (2, 6, 5) if transposed[1] else (2, 5, 6)]

    def product(x: Tensor, y: Tensor) -> Tensor:
        x = x.transpose(1, 2) if transposed[0] else x
        y = y.transpose(1, 2) if transposed[1] else y
        return x @ y

    program = lowered(product, *(normal(*shape, seed=i) for i, shape in enumerate(shapes)))
    assert kinds(program)["transpose"] == (1 if transposed[0] else 0)


def test_a_product_with_itself() -> None:
    lowered(lambda x: x @ x.transpose(1, 2), normal(2, 4, 5))
    lowered(lambda x: x @ x, normal(4, 4))
    lowered(lambda x: x @ x.permute(1, 0, 2), normal(4, 4, 4))
    lowered(lambda x: x.reshape(6, 4) @ x.reshape(4, 6), normal(2, 3, 4))


def test_a_product_over_factors_in_different_order() -> None:
    def product(x: Tensor, y: Tensor) -> Tensor:
        return x.flatten(1) @ y.permute(1, 0, 2).reshape(6, 4)

    lowered(product, normal(2, 3, 2), normal(2, 3, 4))
    lowered(lambda x, y: x.flatten(1) @ y.flatten(1).T, normal(4, 2, 3), normal(5, 3, 2))


def test_a_product_with_copies() -> None:
    """Keys and values that several heads share are not repeated."""

    def shared(q: Tensor, k: Tensor) -> Tensor:
        return q @ k.unsqueeze(1).expand(2, 3, 5, 6).reshape(2, 3, 5, 6)

    program = lowered(shared, normal(2, 3, 4, 5), normal(2, 5, 6))
    assert kinds(program) == {"reshape": 2, "batch_matmul": 1}


class _Attention(nn.Module):
    def __init__(self, scale: float | None = None) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, mask, scale=self.scale)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("masked", [True, False])
def test_attention(scale: float | None, masked: bool) -> None:
    q, k, v = normal(2, 3, 4, 8), normal(2, 3, 5, 8, seed=1), normal(2, 3, 5, 6, seed=2)
    mask = [normal(4, 5)] if masked else []
    program = lowered(_Attention(scale), q, k, v, *mask)
    assert kinds(program)["batch_matmul"] == 2
    scaling = next(one for one in program.operations if one.kind == "multiply")
    assert scaling.inputs[1].data == np.float32(scale or 8**-0.5)


def test_attention_with_a_boolean_mask() -> None:
    mask = torch.ones(5, 5).tril().bool()
    lowered(lambda q: F.scaled_dot_product_attention(q, q, q, mask), normal(2, 3, 5, 8))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"is_causal": True}, "a causal mask"),
        ({"attn_mask": torch.ones(5, 5).tril(-1).bool()}, "that forbids a row"),
        ({"dropout_p": 0.5}, "dropout"),
    ],
)
def test_attention_that_is_not_covered(options: dict[str, object], reason: str) -> None:
    x = normal(2, 3, 5, 8)
    with pytest.raises(NotCovered, match=reason):
        lowered(lambda q: F.scaled_dot_product_attention(q, q, q, **options), x)  # type: ignore[arg-type]
