"""Products of stacks of matrices are `bmm` afterwards."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters.rewrite import batched_matmul
from converters.rewrite.canonical import reshape
from tests.converters.rewrite.places import Outcome, outcome


class Product(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a @ b).softmax(-1)


def batched(a: tuple[int, ...], b: tuple[int, ...]) -> Outcome:
    torch.manual_seed(0)
    return outcome(batched_matmul.apply, Product(), torch.randn(a), torch.randn(b))


@pytest.mark.parametrize("batch", [(3,), (2, 3), (1, 4), (2, 1, 3), (1, 1)])
def test_one_batch_axis(batch: tuple[int, ...]) -> None:
    done = batched((*batch, 5, 6), (*batch, 6, 7))
    assert done.is_same and done.places == 1
    (product,) = done.network.calls(torch.ops.aten.bmm.default)
    assert all(len(one.meta["val"].shape) == 3 for one in (product, *product.all_input_nodes))


@settings(deadline=None, max_examples=15)
@given(
    batch=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    sides=st.tuples(*[st.integers(1, 6)] * 3),
)
def test_any_size(batch: list[int], sides: tuple[int, int, int]) -> None:
    rows, inner, columns = sides
    done = batched((*batch, rows, inner), (*batch, inner, columns))
    assert done.is_same and done.places == 1


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((5, 6), (6, 7)),
        ((2, 5, 6), (1, 6, 7)),
        ((2, 3, 5, 6), (2, 1, 6, 7)),
        ((2, 3, 5, 6), (6, 7)),
    ],
)
def test_stays(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    assert batched(a, b).places == 0


def test_batches_in_another_order_show(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(network, x, shape, *, at):  # type: ignore[no-untyped-def]
        if len(shape) == 3:
            x = network.call(torch.ops.aten.permute.default, x, [1, 0, 2, 3], at=at)
        return reshape(network, x, shape, at=at)

    monkeypatch.setattr(batched_matmul, "reshape", wrong)
    assert not batched((2, 3, 5, 6), (2, 3, 6, 7)).is_same
