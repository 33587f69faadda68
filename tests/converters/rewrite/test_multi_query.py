"""Heads that share keys and values are rows of one product."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from converters.rewrite import multi_query
from converters.rewrite.network import Network
from tests.converters.rewrite.places import Outcome, outcome


class Function(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *operands: Tensor) -> Tensor:
        return self.function(*operands)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q @ k.transpose(-2, -1)) * 0.5).softmax(-1) @ v


def folded(function: Callable[..., Tensor], *shapes: tuple[int, ...]) -> Outcome:
    torch.manual_seed(0)
    return outcome(multi_query.apply, Function(function), *(torch.randn(shape) for shape in shapes))


def batches(done: Outcome) -> list[tuple[int, ...]]:
    return [
        tuple(node.meta["val"].shape[:-2])
        for node in done.network.calls(torch.ops.aten.matmul.default)
    ]


@settings(deadline=None, max_examples=8)
@given(
    b=st.integers(1, 2), h=st.integers(2, 4), n=st.integers(1, 5), m=st.integers(1, 5),
    d=st.integers(1, 4),
)  # fmt: skip
def test_attention_is_two_plain_products(b: int, h: int, n: int, m: int, d: int) -> None:
    done = folded(attention, (b, h, n, d), (b, 1, m, d), (b, 1, m, 3))
    assert done.is_same and done.places == 2
    assert batches(done) == [(b,), (b,)]


def test_nothing_moves_between_the_products() -> None:
    done = folded(attention, (2, 4, 6, 3), (2, 1, 5, 3), (2, 1, 5, 3))
    between = [node.target._schema.name for node in done.network.calls()]  # type: ignore[union-attr]
    first, second = (i for i, name in enumerate(between) if name == "aten::matmul")
    assert set(between[first + 1 : second]) <= {"aten::mul", "aten::softmax", "aten::reshape"}


def test_expanded_keys_are_not_copied() -> None:
    def expanded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = (x[:, None].expand(-1, 4, -1, -1) for x in (k, v))
        return attention(q, k, v)

    done = folded(expanded, (2, 4, 6, 3), (2, 5, 3), (2, 5, 3))
    assert done.is_same and done.places == 2
    assert done.change["expand"] == -2 and batches(done) == [(2,), (2,)]


@pytest.mark.parametrize(
    ("a", "b", "batch"),
    [
        ((4, 6, 3), (1, 3, 5), (1,)),
        ((2, 4, 6, 3), (3, 5), (1,)),
        ((2, 4, 6, 3), (4, 3, 5), (4,)),
        ((2, 4, 2, 6, 3), (2, 1, 2, 3, 5), (2, 2)),
        ((2, 4, 2, 6, 3), (1, 4, 1, 3, 5), (4,)),
    ],
)
def test_axes_that_the_second_operand_lacks(
    a: tuple[int, ...], b: tuple[int, ...], batch: tuple[int, ...]
) -> None:
    done = folded(torch.matmul, a, b)
    assert done.is_same and done.places == 1 and batches(done) == [batch]


def test_masks_apply_to_each_head() -> None:
    def masked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        return (q @ k.transpose(-2, -1) + mask).softmax(-1) @ v

    done = folded(masked, (2, 4, 6, 3), (2, 1, 5, 3), (2, 1, 5, 3), (4, 6, 5))
    assert done.is_same and done.places == 2


def test_logits_that_others_read_keep_their_shape() -> None:
    def both(q: Tensor, k: Tensor) -> Tensor:
        logits = q @ k
        return logits.softmax(-1) + logits.sin()

    assert folded(both, (2, 4, 6, 3), (2, 1, 3, 5)).is_same


STAYS = {
    "keys of each head": [(2, 4, 6, 3), (2, 4, 3, 5)],
    "one head": [(2, 1, 6, 3), (2, 1, 3, 5)],
    "queries are shared": [(2, 1, 6, 3), (2, 4, 3, 5)],
    "a plain product": [(6, 3), (3, 5)],
}


@pytest.mark.parametrize("shapes", STAYS.values(), ids=STAYS)
def test_stays(shapes: list[tuple[int, ...]]) -> None:
    assert folded(torch.matmul, *shapes).places == 0


def test_groups_of_heads_stay() -> None:
    def grouped(q: Tensor, k: Tensor) -> Tensor:
        return q @ k.repeat_interleave(2, dim=1)

    assert folded(grouped, (2, 4, 6, 3), (2, 2, 3, 5)).places == 0


def test_groups_of_heads_that_batches_share_stay() -> None:
    def grouped(q: Tensor, k: Tensor) -> Tensor:
        return q @ k[:, :, None].expand(2, -1, 2, -1, -1).flatten(1, 2)

    assert folded(grouped, (2, 4, 6, 3), (1, 2, 3, 5)).places == 0


def test_columns_that_repeat_stay() -> None:
    done = folded(lambda q, k: q @ k.expand(-1, -1, -1, 5), (2, 4, 6, 3), (2, 1, 3, 1))
    assert done.is_same and done.places == 0


def test_softmax_over_the_rows_stays_outside() -> None:
    done = folded(lambda q, k: (q @ k).softmax(-2), (2, 4, 6, 3), (2, 1, 3, 5))
    assert done.is_same and done.places == 1


def test_heads_in_the_wrong_place_show(monkeypatch: pytest.MonkeyPatch) -> None:
    right = multi_query._Fold

    class Wrong(right):  # type: ignore[misc, valid-type]
        def unfolded(self, network: Network, y: fx.Node, *, at: fx.Node) -> fx.Node:
            b, h, n, m = self.shape
            swapped = right((b, n, h, m), (1,)).unfolded(network, y, at=at)
            return network.call(torch.ops.aten.reshape.default, swapped, [b, h, n, m], at=at)

    monkeypatch.setattr(multi_query, "_Fold", Wrong)
    assert not folded(torch.matmul, (2, 4, 6, 3), (2, 1, 3, 5)).is_same
