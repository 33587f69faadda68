"""Where the windows of convolutions and pools lie along one axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..values import UnknownOperator


def padding(
    operator: str,
    pad_type: str,
    custom: Sequence[int],
    sizes: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
) -> list[tuple[int, int]]:
    """Elements (before, after) to pad each spatial axis with, for a (dilated) kernel's extent.

    `same` pads so that ceil(size / stride) windows fit, the odd element after (`same_lower`:
    before); `custom` lists before and after for each axis; `valid` pads nothing.
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        return [(custom[2 * i], custom[2 * i + 1]) for i in range(len(sizes))]
    if pad_type not in ("same", "same_lower"):
        raise UnknownOperator(operator, f"pad_type {pad_type}")
    pads = []
    for size, kernel, stride in zip(sizes, kernels, strides, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if pad_type == "same" else (large, small))
    return pads


def last_first(pads: Sequence[tuple[int, int]]) -> list[int]:
    """The same elements in the order of torch's `pad`, which begins with the last axis."""
    return [amount for pair in reversed(pads) for amount in pair]
