from __future__ import annotations

from typing import Any

import pytest
import torch.nn.functional as F

from converters.lowering.program import NotCovered
from tests.converters.lowering.lowered import kinds, lowered, normal


@pytest.mark.parametrize(
    "options",
    [
        {"size": (10, 15), "align_corners": False},
        {"size": (10, 15), "align_corners": True},
        {"size": (3, 20)},
        {"scale_factor": 2, "align_corners": False},
        {"scale_factor": 2, "align_corners": True},
        {"scale_factor": (0.5, 1.5), "align_corners": False},
    ],
)
def test_bilinear(options: dict[str, Any]) -> None:
    program = lowered(lambda x: F.interpolate(x, mode="bilinear", **options), normal(2, 3, 6, 8))
    assert kinds(program)["resize_bilinear"] == 1


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "bilinear", "scale_factor": 1.3},  # the factor counts, not the ratio of sizes
        {"mode": "bicubic", "size": (9, 5)},
        {"mode": "bicubic", "scale_factor": (1.5, 0.7), "align_corners": False},
        {"mode": "bicubic", "size": (9, 16), "align_corners": True},
        {"mode": "nearest", "size": (7, 5)},
        {"mode": "nearest-exact", "size": (7, 13)},
        {"mode": "area", "size": (4, 5)},
    ],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_others_are_products_with_constants(options: dict[str, Any], batch: int) -> None:
    lowered(lambda x: F.interpolate(x, **options), normal(batch, 3, 6, 8))


def test_adaptive_pools_with_windows_of_different_sizes() -> None:
    lowered(lambda x: F.adaptive_avg_pool2d(x, (4, 3)), normal(2, 3, 6, 8))


def test_a_map_without_a_batch_is_not_covered() -> None:
    with pytest.raises(NotCovered, match="a map without a batch"):
        lowered(lambda x: F.adaptive_avg_pool2d(x, (4, 3)), normal(3, 6, 8))
