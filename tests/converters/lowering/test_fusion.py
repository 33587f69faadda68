from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.converters.lowering.lowered import kinds, loud, lowered, normal


@pytest.mark.parametrize(
    ("function", "bounds"),
    [
        (F.relu, (0.0, None)),
        (F.relu6, (0.0, 6.0)),
        (lambda x: x.clamp(max=1), (None, 1.0)),
        (lambda x: F.hardtanh(x, -0.5, 0.5), (-0.5, 0.5)),
    ],
)
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Linear(6, 5),
        lambda x: x + x.abs(),
        lambda x: x - x.abs(),
        lambda x: x * x.abs(),
        lambda x: x / (x.abs() + 1),
    ],
)
def test_activations_are_fused(
    layer: Any, function: Callable[[Tensor], Tensor], bounds: tuple[Any, Any]
) -> None:
    layer = loud(layer) if isinstance(layer, nn.Module) else layer
    program = lowered(lambda x: function(layer(x)), normal(2, 4, 5, 6))
    assert not kinds(program)["clamp"]
    assert bounds in [one.attributes.get("activation") for one in program.operations]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (y := x + 1, y.relu()),  # an output
        lambda x: (y := x + 1).relu() * y.exp(),  # read by somebody else
        lambda x: x.exp().relu(),  # of what takes none
        lambda x: torch.maximum(x, -x).relu(),
        lambda x: x.relu(),  # of an input
    ],
)
def test_others_stay(function: Callable[[Tensor], Any]) -> None:
    assert kinds(lowered(function, normal(2, 3)))["clamp"] == 1


def test_one_activation_is_fused_the_next_stays() -> None:
    program = lowered(lambda x: (x + 1).clamp(-1, 1).relu(), normal(20))
    assert kinds(program) == {"add": 1, "clamp": 1}


@pytest.mark.parametrize("conv", [nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, 2, 1, groups=4)])
def test_zeros_around_a_map_are_a_convolutions_padding(conv: nn.Conv2d) -> None:
    """As TensorFlow pads: one more behind than before."""
    loud(conv)
    program = lowered(lambda x: conv(F.pad(x, (0, 1, 2, 3))), normal(2, 4, 8, 9))
    assert not kinds(program)["pad"]
    (one,) = (one for one in program.operations if "conv" in one.kind)
    own = conv.padding[0]
    assert one.attributes["padding"] == (2 + own, own, 3 + own, 1 + own)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, conv: conv(F.pad(x, (1, 1), value=0.5)),  # other numbers
        lambda x, conv: conv(F.pad(x[:, :3], (0, 0, 0, 0, 0, 1))),  # channels
        lambda x, conv: conv(y := F.pad(x, (1, 1))).sum() + y.exp().sum(),  # another reader
        lambda x, conv: F.max_pool2d(F.pad(x, (1, 1)), 3),  # to a pool zeros are numbers
    ],
)
def test_other_borders_stay(function: Callable[[Tensor, nn.Module], Tensor]) -> None:
    conv = loud(nn.Conv2d(4, 4, 3))
    assert kinds(lowered(lambda x: function(x, conv), normal(2, 4, 8, 9) - 3))["pad"] == 1


def test_borders_around_borders() -> None:
    conv = loud(nn.Conv2d(4, 4, 3))
    program = lowered(lambda x: conv(F.pad(F.pad(x, (1, 0)), (0, 0, 1, 0))), normal(2, 4, 8, 9))
    assert kinds(program)["pad"] == 1
