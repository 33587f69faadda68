from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from converters.lowering.program import NotCovered
from tests.converters.lowering.lowered import kinds, lowered, normal


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, 2:7],
        lambda x: x[:, 1],
        lambda x: x[..., -1:],
        lambda x: x[:, 1:8:3],
        lambda x: x[:, ::2, 1::2],
        lambda x: x[:, 11::4],
        lambda x: x.flatten(1)[:, 13:77],
        lambda x: x.reshape(2, 3, 4, 48)[:, 1],
        lambda x: x.permute(2, 0, 3, 1).flatten(0, 1)[3:9],
        lambda x: x.expand(2, 12, 8, 6)[:1, :, 1:],
        lambda x: x[:, :1].expand(2, 5, 8, 6)[:, 2:4] + 1,
        lambda x: torch.stack(x.chunk(3, 1)),
    ],
)
def test_slices(function: Callable[[Tensor], Tensor]) -> None:
    lowered(function, normal(2, 12, 8, 6))


def test_parts_of_channels_are_cut_where_they_lie() -> None:
    """Queries, keys and values of a common projection: a slice each, no reshape."""

    def parts(x: Tensor) -> Tensor:
        q, k, v = x.reshape(2, 7, 3, 4, 5).permute(2, 0, 1, 3, 4).unbind(0)
        return q * k + v

    program = lowered(parts, normal(2, 7, 60))
    assert kinds(program) == {"slice": 3, "multiply": 1, "add": 1, "reshape": 1}


def test_equal_slices_are_one() -> None:
    program = lowered(lambda x: x[:, 1:3] * x[:, 1:3].exp(), normal(2, 5))
    assert kinds(program) == {"slice": 1, "exp": 1, "multiply": 1}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.cat((x, 2 * x, x[:, :3]), 1),
        lambda x: torch.cat((x, torch.ones(2, 1, 8, 6)), 1),
        lambda x: torch.cat((torch.ones(2, 12, 8, 2), x[..., :1]), 3),
        lambda x: torch.cat((x, x.transpose(0, 1).reshape(2, 12, 8, 6)), 2),
        lambda x: torch.cat((x[:, :1], x[:, :1]), 1),
        lambda x: torch.cat((x[:1], x[1:], x), 0),
        lambda x: torch.cat((x.flatten(2), x.transpose(2, 3).flatten(2)), 1),
        lambda x: torch.cat((x[:, :1].expand(2, 12, 8, 6), x), 1),
        lambda x: (
            torch.cat((x[:, :1].expand(2, 12, 8, 6), x[:, :1, :1]), 1) if x.shape[2] == 1 else x
        ),
        lambda x: torch.cat([x[:, i : i + 1] for i in range(7)], 1),
        lambda x: torch.stack((x, x + 1), 0),
        lambda x: torch.stack((x, x + 1), -1).flatten(3),
        lambda x: torch.roll(x, (3, -1), (2, 3)),
    ],
)
def test_concatenations(function: Callable[[Tensor], Tensor]) -> None:
    lowered(function, normal(2, 12, 8, 6))


def test_a_class_token_keeps_the_tokens_order() -> None:
    program = lowered(
        lambda x, t: torch.cat((t.expand(2, 1, 6), x.transpose(1, 2)), 1).exp(),
        normal(2, 6, 5),
        normal(1, 1, 6),
    )
    assert kinds(program)["transpose"] <= 2


def test_operands_with_several_sets_of_factors() -> None:
    def function(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        parts = [t.permute(1, 0, 2).reshape(24, 5) for t in (x, y, z)]
        return torch.cat(parts, 1)

    lowered(function, normal(6, 4, 5), normal(4, 6, 5), normal(2, 12, 5))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.pad(x, (1, 2, 0, 1)),
        lambda x: F.pad(x, (0, 0, 0, 0, 2, 0), value=3.0),
        lambda x: F.pad(x.flatten(2), (1, 1)),
        lambda x: F.pad(x.permute(0, 2, 3, 1), (0, 4)),
        lambda x: F.pad(x.reshape(2, 3, 4, 48).permute(0, 2, 1, 3).flatten(2), (1, 2), value=-1.0),
        lambda x: F.pad(x[:, :1], (0, 0, 0, 0, 1, 2)),
        lambda x: F.pad(x[:1, :1, :1], (0, 0, 1, 0, 2, 1, 0, 1)),
        lambda x: F.pad(x[:, :1].expand(2, 5, 8, 6), (0, 0, 1, 1, 1, 0)),
    ],
)
def test_padding(function: Callable[[Tensor], Tensor]) -> None:
    lowered(function, normal(2, 12, 8, 6))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.transpose(1, 2).reshape(2, 9, 64) * 3,
        lambda x: x.flatten(2).reshape(2, 12, 3, 16).permute(0, 2, 3, 1) + 1,
        lambda x: x[:, :1].expand(2, 5, 8, 6).reshape(5, 16, 6).exp(),
        lambda x: x[:, :1].expand(2, 5, 8, 6).transpose(1, 2).reshape(10, 8, 6) @ torch.ones(6, 2),
        lambda x: F.pixel_shuffle(x, 2),
        lambda x: F.pixel_unshuffle(x, 2),
        lambda x: F.channel_shuffle(x, 3),
        lambda x: x.repeat(1, 2, 1, 3),
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest") + 1,
    ],
)
def test_reshapes(function: Callable[[Tensor], Tensor]) -> None:
    lowered(function, normal(2, 12, 8, 6))


def test_what_lies_in_one_piece_is_cut_without_a_copy() -> None:
    """8 and 6 as 3 and 16, on a map whose channels lie last."""

    def function(x: Tensor) -> Tensor:
        y = x.permute(0, 3, 1, 2).exp()
        return y.flatten(2).reshape(2, 5, 3, 16).exp()

    program = lowered(lambda x: function(x).permute(0, 2, 3, 1), normal(2, 8, 6, 5))
    assert not kinds(program)["transpose"]


def test_bytes_are_cast() -> None:
    x = torch.arange(24, dtype=torch.uint8).reshape(1, 4, 2, 3)
    program = lowered(lambda x: x.permute(0, 3, 1, 2).float() / 255, x)
    assert program.inputs[0].dtype == "uint8"
    assert kinds(program) == {"cast": 1, "divide": 1, "transpose": 1}


@pytest.mark.parametrize(
    ("function", "x", "reason"),
    [
        (lambda x: F.pad(x, (-1, 0)), torch.ones(2, 3), "padding by less than nothing"),
        (lambda x: x * 2, torch.ones(2, dtype=torch.uint8), "values of type uint8"),
        (lambda x: x.to(torch.uint8), torch.ones(2), "values of type uint8"),
        (lambda x: x.half(), torch.ones(2), "values of type float16"),
        (lambda x: x + 1, torch.ones(2, dtype=torch.int64), "values of type int64"),
        (lambda x: x.cumsum(0), torch.ones(2), "no rule for aten.cumsum.default"),
    ],
)
def test_not_covered(function: Callable[[Tensor], Tensor], x: Tensor, reason: str) -> None:
    with pytest.raises(NotCovered, match=reason):
        lowered(function, x)
