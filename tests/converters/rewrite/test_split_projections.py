"""Projections read in parts become one for each part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters.rewrite import split_projections
from converters.rewrite.network import Network
from tests.converters.rewrite.places import Outcome, outcome

Parts = tuple[Tensor, ...]
B, N, H, D = 2, 6, 4, 5


class Projection(nn.Module):
    """A layer whose output a function takes apart; each part is used in another way."""

    def __init__(self, layer: nn.Module, apart: Callable[[Tensor], Parts]) -> None:
        super().__init__()
        self.layer = layer
        self.apart = apart

    def forward(self, x: Tensor) -> Parts:
        uses = (torch.sigmoid, torch.tanh, torch.relu, torch.exp, torch.cos)
        return tuple(use(part) for use, part in zip(uses, self.apart(self.layer(x)), strict=False))


def split(layer: nn.Module, apart: Callable[[Tensor], Parts], x: Tensor) -> Outcome:
    return outcome(split_projections.apply, Projection(layer, apart), x)


def tokens(apart: Callable[[Tensor], Parts], channels: int = 3 * H * D) -> Outcome:
    torch.manual_seed(0)
    return split(nn.Linear(7, channels), apart, torch.randn(B, N, 7))


# The projection of queries, keys and values as timm, transformers and we take it apart.
JOINT: dict[str, Callable[[Tensor], Parts]] = {
    "axis of its own": lambda y: y.reshape(B, N, 3, H, D).permute(2, 0, 3, 1, 4).unbind(0),
    "chunks": lambda y: y.chunk(3, dim=-1),
    "between heads and channels": lambda y: y.reshape(B, N, H, 3 * D).split((3, 4, 8), dim=3),
    "innermost": lambda y: y.reshape(B, N, H, D, 3).unbind(-1),
    "heads of all": lambda y: y.transpose(1, 2).reshape(B, 3 * H, D, N).chunk(3, dim=1),
    "every third": lambda y: (y[..., 0::3], y[..., 1::3], y[..., 2::3]),
    "parts of one part": lambda y: y.permute(1, 0, 2)[..., H * D :].split((8, 32), dim=-1),
}


@pytest.mark.parametrize("apart", JOINT.values(), ids=JOINT)
def test_joint_projections(apart: Callable[[Tensor], Parts]) -> None:
    done = tokens(apart)
    assert done.is_same and done.places >= 1
    assert "slice" not in {node.target._schema.name for node in done.network.calls()}  # type: ignore[union-attr]
    assert done.change["slice"] < 0


@settings(deadline=None, max_examples=10)
@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4), bias=st.booleans())
def test_parts_of_a_pointwise_convolution(sizes: list[int], bias: bool) -> None:
    layer = nn.Conv2d(3, sum(sizes), 1, stride=2, bias=bias)
    done = split(layer, lambda y: y.split(sizes, dim=1), torch.randn(2, 3, 5, 4))
    assert done.is_same and done.places == 1
    assert done.change == {"conv2d": len(sizes) - 1, "slice": -len(sizes)}


def test_rows_that_nobody_reads_go() -> None:
    done = tokens(lambda y: (y[..., :8], y[..., 20:25]))
    assert done.is_same and done.places == 1
    weights = [done.network.value(node.args[1]) for node in done.network.calls()[:2]]
    assert sorted(len(weight) for weight in weights if weight is not None) == [5, 8]


def test_a_part_that_two_read_is_one_layer() -> None:
    done = tokens(lambda y: (y[..., :20], y[..., 20:], y.permute(1, 0, 2)[..., 20:]))
    assert done.is_same and done.change["linear"] == 1


def test_parts_of_parts() -> None:
    def apart(y: Tensor) -> Parts:
        queries, rest = y.split((20, 40), dim=-1)
        return queries, *rest.unflatten(-1, (2, H, D)).unbind(-3)

    done = tokens(apart)
    assert done.is_same and done.places == 2 and done.change["linear"] == 2


STAYS: dict[str, Callable[[Tensor], Parts]] = {
    "read as a whole as well": lambda y: (y[..., :8], y[..., 8:], y),
    "a token": lambda y: (y[:, 0], y[:, 1:]),
    "a token of the channels": lambda y: (y[:, :1, :8], y[..., 8:]),
    "half of the tokens, twice": lambda y: (y[None].expand(2, -1, -1, -1)[:, :, : N // 2],),
    "parts that overlap": lambda y: (y[..., :8], y[..., 7:]),
    "tokens and channels in one": lambda y: y.flatten(1).split((7, 3 * N * H * D - 7), dim=1),
}


@pytest.mark.parametrize("apart", STAYS.values(), ids=STAYS)
def test_stays(apart: Callable[[Tensor], Parts]) -> None:
    assert tokens(apart).places == 0


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(4, 8, 3), nn.Conv2d(4, 8, 1, groups=2), nn.Conv2d(4, 8, 1, padding=1)],
    ids=["3x3", "groups", "padded"],
)
def test_only_pointwise_convolutions(layer: nn.Module) -> None:
    done = split(layer, lambda y: y.chunk(2, dim=1), torch.randn(1, 4, 5, 5))
    assert done.places == 0


def test_shared_weights_stay() -> None:
    layer = nn.Linear(7, 20)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Parts:
            return *layer(x).chunk(2, -1), *layer(x.sin()).chunk(2, -1)

    assert outcome(split_projections.apply, Twice(), torch.randn(2, 7)).places == 0


def test_rows_off_by_one_show(monkeypatch: pytest.MonkeyPatch) -> None:
    right = split_projections._with_rows

    def wrong(network: Network, layer: torch.fx.Node, rows: Sequence[int]) -> torch.fx.Node:
        return right(network, layer, [*rows[1:], rows[0]])

    monkeypatch.setattr(split_projections, "_with_rows", wrong)
    assert not tokens(JOINT["chunks"]).is_same
