"""Pools of (B,C,*D) with one to three spatial axes.

In `ceil_mode` the last window may reach over the end of the padded input. What lies there counts
as padding: where padding belongs to an average, the average is over the whole kernel, unlike in
torch, which leaves that part out (apple/coremltools#2772).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..values import UnknownOperator
from .arguments import flag, integers
from .registry import operator
from .windows import last_first, padding

AVERAGES = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
MAXIMA = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


class _Windows:
    """Kernel, steps and padding of a pool over one input, all by spatial axis."""

    def __init__(
        self,
        name: str,
        x: Tensor,
        kernel_sizes: Tensor,
        strides: Tensor | None,
        pad_type: str,
        pad: Tensor | None,
        ceil_mode: Tensor | None,
    ) -> None:
        self.kernels = integers(kernel_sizes)
        rank = len(self.kernels)
        self.strides = integers(strides, [1] * rank)
        sizes = x.shape[2:]
        self.pads = padding(
            name, pad_type, integers(pad, [0, 0] * rank), sizes, self.kernels, self.strides
        )
        if flag(ceil_mode):
            self.pads = [
                _overhang(name, size, kernel, stride, pair)
                for size, kernel, stride, pair in zip(
                    sizes, self.kernels, self.strides, self.pads, strict=True
                )
            ]
        self.padded = any(amount for pair in self.pads for amount in pair)

    def pad(self, x: Tensor, value: float = 0.0) -> Tensor:
        return F.pad(x, last_first(self.pads), value=value) if self.padded else x

    def average(self, padded: Tensor) -> Tensor:
        """The mean of each window of an input that holds its padding."""
        return AVERAGES[len(self.kernels)](padded, self.kernels, self.strides)


def _overhang(
    name: str, size: int, kernel: int, stride: int, pair: tuple[int, int]
) -> tuple[int, int]:
    """Padding that holds all windows of `ceil_mode` along an axis."""
    before, after = pair
    windows = math.ceil((size + before + after - kernel) / stride) + 1
    start = (windows - 1) * stride
    if start >= size + before:
        if not before + after:
            raise UnknownOperator(name, "ceil_mode with a window beyond an input without padding")
        start -= stride  # the reference leaves out a window of padding alone
    return before, max(after, start + kernel - size - before)


@operator("avg_pool")
def avg_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    exclude_padding_from_average: Tensor | None = None,
    ceil_mode: Tensor | None = None,
) -> Tensor:
    """The mean of each window, over the whole kernel or, on request, without the padding."""
    windows = _Windows("avg_pool", x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    means = windows.average(windows.pad(x))
    if not (windows.padded and flag(exclude_padding_from_average)):
        return means
    inside = windows.average(windows.pad(torch.ones_like(x[:1, :1])))
    return means / inside


@operator("l2_pool")
def l2_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    ceil_mode: Tensor | None = None,
) -> Tensor:
    """The square root of the sum of squares in each window."""
    windows = _Windows("l2_pool", x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    squares = windows.average(windows.pad(torch.square(x)))
    return torch.sqrt(squares * math.prod(windows.kernels))


@operator("max_pool")
def max_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    ceil_mode: Tensor | None = None,
) -> Tensor:
    """The largest element of each window; padding never is."""
    windows = _Windows("max_pool", x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    padded = windows.pad(x, -math.inf)
    return MAXIMA[len(windows.kernels)](padded, windows.kernels, windows.strides)
