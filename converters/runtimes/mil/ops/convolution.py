"""Convolutions of (B,C,*D) with one to three spatial axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from ..values import UnknownOperator
from .arguments import along_channels, integer, integers
from .registry import operator
from .windows import last_first, padding

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@operator("conv")
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    """Cross-correlation of x (B,I,*D) with weight (O,I/groups,*K)."""
    ones, margins = _defaults(x, pad)
    steps, spread = integers(strides, ones), integers(dilations, ones)
    pads = padding("conv", pad_type, margins, x.shape[2:], _extents(weight, spread), steps)
    if all(before == after for before, after in pads):
        symmetric = [before for before, _ in pads]
    else:
        x, symmetric = F.pad(x, last_first(pads)), [0] * len(ones)
    convolve = CONVOLUTIONS[len(ones)]
    return convolve(x, weight, bias, steps, symmetric, spread, integer(groups, 1))


@operator("conv_transpose")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: Tensor | None = None,
    output_shape: Tensor | None = None,
    pad_type: str = "valid",
    strides: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    """The transpose of a convolution: x (B,I,*D), weight (I,O/groups,*K).

    The result is that of `valid` padding, (D - 1) * stride + the kernel's extent long, of which
    padding removes elements. `output_shape` (B,O,*D) fixes what is left of the end.
    """
    ones, margins = _defaults(x, pad)
    steps, spread = integers(strides, ones), integers(dilations, ones)
    full = TRANSPOSED[len(ones)](x, weight, None, steps, 0, 0, integer(groups, 1), spread)
    extents = _extents(weight, spread)
    sizes = _transposed_sizes(x, extents, steps, pad_type, margins, integers(output_shape))
    crops = padding("conv_transpose", pad_type, margins, sizes, extents, steps)
    kept = [
        (-before, size + before - length)
        for (before, _), size, length in zip(crops, sizes, full.shape[2:], strict=True)
    ]
    result = F.pad(full, last_first(kept))
    return result if bias is None else result + along_channels(bias, x.dim())


def _defaults(x: Tensor, pad: Tensor | None) -> tuple[list[int], list[int]]:
    """One for each spatial axis, and the elements of custom padding, none unless given."""
    rank = x.dim() - 2
    return [1] * rank, integers(pad, [0, 0] * rank)


def _transposed_sizes(
    x: Tensor,
    extents: Sequence[int],
    strides: Sequence[int],
    pad_type: str,
    pad: Sequence[int],
    output_shape: Sequence[int],
) -> list[int]:
    if output_shape:
        return list(output_shape[2:])
    axes = range(len(extents))
    if pad_type == "same":
        return [x.shape[2 + i] * strides[i] for i in axes]
    if pad_type == "same_lower":
        raise UnknownOperator("conv_transpose", "pad_type same_lower")
    sizes = [(x.shape[2 + i] - 1) * strides[i] + extents[i] for i in axes]
    if pad_type == "custom":
        sizes = [size - pad[2 * i] - pad[2 * i + 1] for i, size in enumerate(sizes)]
    return sizes


def _extents(weight: Tensor, dilations: Sequence[int]) -> list[int]:
    return [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilations, strict=True)]
