"""What each MIL operator computes, one file for each family of the operator reference.

Written from the reference of iOS15 to iOS18, not from torch's operators of the same names.
Importing a family registers its operators.
"""

from . import (
    activation,
    blocks,
    convolution,
    cropping,
    elementwise,
    gather_scatter,
    linear,
    normalisation,
    pooling,
    quantisation,
    reduction,
    resampling,
    resizing,
    selection,
    slicing,
    tensor,
    transform,
)
from .registry import OPERATORS, operator

__all__ = [
    "OPERATORS",
    "activation",
    "blocks",
    "convolution",
    "cropping",
    "elementwise",
    "gather_scatter",
    "linear",
    "normalisation",
    "operator",
    "pooling",
    "quantisation",
    "reduction",
    "resampling",
    "resizing",
    "selection",
    "slicing",
    "tensor",
    "transform",
]
