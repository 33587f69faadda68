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
