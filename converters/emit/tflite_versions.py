"""The versions of TFLite's builtin operators: which runtimes can read a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_FROM_RANK_5 = {"PAD": 4, "SLICE": 5, "TRANSPOSE": 4}
_BROADCAST_FROM_RANK_5 = {"SUB": 3, "DIV": 2, "MAXIMUM": 3, "MINIMUM": 3}


def operator_version(kind: str, shapes: Sequence[tuple[int, ...]], options: Any) -> int:
    """The least version that has what is asked for, as LiteRT's `op_version.cc` says.

    `shapes` are those of the inputs, which are of float32 where the dtype matters; `options` is
    the schema's object of the operator's options.
    """
    if kind == "CONV_2D":
        groups = shapes[0][3] // shapes[1][3]
        return 1 if groups == 1 else 6
    if kind == "DEPTHWISE_CONV_2D":
        return 1 if options.dilationHFactor == options.dilationWFactor == 1 else 2
    if kind == "FULLY_CONNECTED":
        has_bias = len(shapes) == 3
        return 5 if has_bias else 6  # 5 has keepNumDims
    if kind == "RESIZE_BILINEAR":
        return 3 if options.halfPixelCenters else 1
    rank = max(map(len, shapes))
    if kind == "TRANSPOSE" and rank > 5:
        return 6
    if rank > 4 and kind in _BROADCAST_FROM_RANK_5 and shapes[0] != shapes[1]:
        return _BROADCAST_FROM_RANK_5[kind]
    return _FROM_RANK_5.get(kind, 1) if rank > 4 else 1
