"""Sizes beyond which a package is damaged, whatever else it says."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...errors import one_line

MAX_ELEMENTS = 2**30  # no value of a program for phones is near this
MAX_RANK = 16  # CoreML itself stops at 5


def check_shape(shape: Sequence[int | None]) -> None:
    """Raises ValueError for a shape that no value can have; None is a size not known yet."""
    sizes = [1 if size is None else size for size in shape]
    if len(sizes) > MAX_RANK or min(sizes, default=0) < 0 or math.prod(sizes) > MAX_ELEMENTS:
        raise ValueError(f"has the absurd shape {one_line(list(shape), 80)}")
