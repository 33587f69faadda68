from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.lowering.program import NotCovered
from tests.converters.lowering.lowered import kinds, loud, lowered, normal


@pytest.mark.parametrize("size", [(9, 12), (8, 7)])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 3, "padding": 1, "bias": False},
        {"kernel_size": (1, 5), "padding": (0, 2), "stride": (1, 2)},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "dilation": 2, "padding": "same"},
        {"kernel_size": 4, "padding": "same"},
        {"kernel_size": 3, "groups": 2},
        {"kernel_size": 3, "groups": 4, "padding": 1},
        {"kernel_size": 1},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": 1, "padding": 1},
        {"kernel_size": 1, "groups": 2},
    ],
)
def test_convolutions(options: dict[str, Any], size: tuple[int, int]) -> None:
    program = lowered(loud(nn.Conv2d(4, 8, **options)), normal(2, 4, *size))
    depthwise = options.get("groups") == 4
    assert kinds(program)["depthwise_conv2d" if depthwise else "conv2d"] == 1


def test_a_convolution_of_one_channel() -> None:
    lowered(loud(nn.Conv2d(1, 3, 3)), normal(2, 1, 5, 6))
    lowered(loud(nn.Conv2d(1, 1, 1)), normal(2, 1, 5, 6))
    lowered(loud(nn.Conv2d(3, 1, (5, 6))), normal(2, 3, 5, 6))


def test_a_convolution_over_a_row() -> None:
    lowered(loud(nn.Conv1d(4, 6, 3, padding=1)), normal(2, 4, 9))
    lowered(loud(nn.Conv1d(4, 4, 3, groups=4)), normal(2, 4, 9))


def test_a_pointwise_convolution_is_linear_on_tokens() -> None:
    """Tokens (B, N, C) seen as a map (B, C, N, 1) are neither copied nor turned."""
    conv = loud(nn.Conv2d(6, 8, 1))

    def function(x: Tensor) -> Tensor:
        y = conv(x.reshape(5, 2, 7, 6).permute(1, 3, 0, 2))
        return y.permute(2, 0, 3, 1).flatten(0, 1)

    assert kinds(lowered(function, normal(10, 7, 6))) == {"fully_connected": 1}


def test_convolutions_between_maps_move_nothing() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Hardswish(),
        nn.MaxPool2d(2), nn.Conv2d(8, 12, 1), nn.Upsample(scale_factor=2, mode="bilinear"),
    )  # fmt: skip
    assert kinds(lowered(loud(network), normal(2, 3, 16, 24)))["transpose"] == 2  # input, output


@pytest.mark.parametrize("size", [(9, 12), (8, 7)])
@pytest.mark.parametrize("ceil", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0)},
        {"kernel_size": 3, "stride": 2, "dilation": 2, "padding": 1},
    ],
)
def test_max_pools(options: dict[str, Any], size: tuple[int, int], ceil: bool) -> None:
    pool = nn.MaxPool2d(**options, ceil_mode=ceil)
    program = lowered(pool, normal(2, 4, *size) - 3)  # zeros around would win
    assert kinds(program)["max_pool2d"] == 1


@pytest.mark.parametrize("size", [(9, 12), (8, 7)])
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"kernel_size": 2}, "average_pool2d"),
        ({"kernel_size": 2, "ceil_mode": True}, "average_pool2d"),
        ({"kernel_size": 3, "stride": 1, "padding": 1}, "depthwise_conv2d"),
        ({"kernel_size": (3, 5), "stride": 2, "padding": (1, 0)}, "depthwise_conv2d"),
        (
            {"kernel_size": 3, "stride": 1, "padding": 1, "count_include_pad": False},
            "average_pool2d",
        ),
        (
            {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False,
             "ceil_mode": True},
            "average_pool2d",
        ),
    ],
)  # fmt: skip
def test_average_pools(options: dict[str, Any], kind: str, size: tuple[int, int]) -> None:
    program = lowered(nn.AvgPool2d(**options), normal(2, 4, *size))
    assert kinds(program)[kind] == 1


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: F.avg_pool2d(x, 2, divisor_override=3), "a divisor of its own"),
        (
            lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
            "ceil_mode that counts padding",
        ),
        (lambda x: F.conv2d(x, x), "weights that are computed"),
        (lambda x: F.max_pool2d(x[0], 2), "a map without a batch"),
        (
            lambda x: F.conv_transpose2d(x, torch.ones(3, 2, 2, 2)),
            "no rule for aten.conv_transpose2d.input",
        ),
    ],
)
def test_not_covered(function: Callable[[Tensor], Tensor], reason: str) -> None:
    with pytest.raises(NotCovered, match=reason):
        lowered(function, normal(2, 3, 6, 8))


@pytest.mark.parametrize("pool", [nn.AvgPool2d(1, 2), nn.MaxPool2d(1, 3), nn.AvgPool2d(1, (1, 2))])
def test_pools_of_single_pixels(pool: nn.Module) -> None:
    assert kinds(lowered(pool, normal(2, 4, 7, 8)))["depthwise_conv2d"] == 1


def test_pools_over_a_row() -> None:
    lowered(nn.AvgPool1d(3, 2, 1), normal(2, 4, 9))
    lowered(nn.MaxPool1d(3, ceil_mode=True), normal(2, 4, 10) - 3)
