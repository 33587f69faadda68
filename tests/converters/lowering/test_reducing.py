from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.converters.lowering.lowered import kinds, loud, lowered, normal


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (3,), (2, 3), (1, 2, 3), (0, 2), (1, 3)])
@pytest.mark.parametrize("keepdim", [True, False])
def test_means_and_sums(axes: tuple[int, ...], keepdim: bool) -> None:
    program = lowered(lambda x: x.mean(axes, keepdim) + x.sum(axes, keepdim), normal(2, 3, 4, 5))
    assert not kinds(program)["transpose"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.flatten(2).mean(2),
        lambda x: x.permute(0, 2, 3, 1).flatten(1, 2).mean(1),
        lambda x: x.reshape(2, 2, 6, 8, 6).mean(2),
        lambda x: x.reshape(2, 2, 6, 8, 6).transpose(1, 2).flatten(1, 2).mean(1),
        lambda x: x[:, :1].expand(2, 5, 8, 6).mean((1, 2)),
        lambda x: x[:, :1].expand(2, 5, 8, 6).sum((1, 3)),
        lambda x: x[:, :1].mean(1),
        lambda x: x.mean(),
        lambda x: x.sum(),
        lambda x: x.var((1, 2), keepdim=True),
        lambda x: F.normalize(x, dim=1),
        lambda x: F.normalize(x, dim=-1),
    ],
)
def test_of_views(function: Callable[[Tensor], Tensor]) -> None:
    lowered(function, normal(2, 12, 8, 6))


def test_the_mean_of_a_map_moves_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    program = lowered(loud(network), normal(2, 3, 7, 8))
    (mean,) = (one for one in program.operations if one.kind == "mean")
    assert mean.attributes == {"axes": (1, 2)}
    assert kinds(program)["transpose"] == 1  # that of the input


def test_positions_before_channels() -> None:
    """A mean over all of a map is two, the second over what the first left."""
    program = lowered(lambda x: x.mean((1, 2, 3)), normal(2, 6, 7, 4))
    axes = [one.attributes["axes"] for one in program.operations if one.kind == "mean"]
    assert axes == [(1, 2), (3,)]


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_softmax(axis: int) -> None:
    program = lowered(lambda x: x.softmax(axis), normal(2, 3, 4, 5))
    assert kinds(program)["transpose"] == (0 if axis in (3, -1) else 2)


def test_a_softmax_cares_not_for_the_order_within() -> None:
    def function(x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(1).softmax(1).reshape(2, 4, 3).transpose(1, 2)

    assert kinds(lowered(function, normal(2, 3, 4))) == {"softmax": 1, "reshape": 2}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("sizes", [(5,), (4, 5)])
def test_layer_norm_that_was_not_spelled_out(sizes: tuple[int, ...], affine: bool) -> None:
    norm = nn.LayerNorm(sizes, elementwise_affine=affine)
    lowered(loud(norm), normal(2, 3, 4, 5))


def test_layer_norm_of_channels_moves_nothing() -> None:
    norm = loud(nn.LayerNorm(6))
    convs = loud(nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1)))

    def function(x: Tensor) -> Tensor:
        return convs[1](norm(convs[0](x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))

    assert kinds(lowered(function, normal(2, 3, 7, 8)))["transpose"] == 2  # input, output


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups: int) -> None:
    lowered(loud(nn.GroupNorm(groups, 6)), normal(2, 6, 4, 5))


def test_a_large_mean_does_not_drown_the_variance() -> None:
    norm = nn.LayerNorm(6)
    lowered(norm, normal(4, 6) + torch.tensor(1000.0))


@pytest.mark.parametrize("axes", [(2,), (3,), (2, 3), (1, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("keepdim", [True, False])
def test_the_largest_of_many(axes: tuple[int, ...], keepdim: bool) -> None:
    def function(x: Tensor) -> Tensor:
        return (x - 5).transpose(1, 2).amax(axes, keepdim)

    program = lowered(function, normal(2, 9, 12, 10))
    assert kinds(program)["max_pool2d"] >= 1


def test_the_largest_of_few() -> None:
    lowered(lambda x: x.amax(1) - x.amin(1) + x.max(1)[0], normal(2, 3, 4, 5))
