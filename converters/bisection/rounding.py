"""How far rounding alone may move each value of a source: the measure of a true difference.

The source runs again in double precision. What it computes there and what it computes in its own
differ by rounding only, so that difference, at each value, says how much of a file's error is no
fault. It follows the value's own sensitivity: a softmax of large logits is far noisier than the
convolution before it.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .source_trace import SourceTrace, SourceValue, trace_source

_LEAST = 2.0**-23  # one unit in the last place of fp32, where rounding happened to cancel
_UNKNOWN = 2.5e-6  # where double precision computes something else, or cannot run


def with_rounding(
    trace: SourceTrace, module: nn.Module, args: Sequence[Tensor], kwargs: Mapping[str, Tensor]
) -> SourceTrace:
    """The trace with `rounding` at each value: the relative error that fp32 itself has there."""
    try:
        exact = trace_source(
            copy.deepcopy(module).double(),
            [_double(tensor) for tensor in args],
            {name: _double(tensor) for name, tensor in kwargs.items()},
        ).values
    except Exception:  # a user's module may insist on its type in any way
        exact = ()
    own = trace.values
    partners: dict[int, SourceValue] = {}
    matcher = difflib.SequenceMatcher(
        None, [_kind(value) for value in own], [_kind(value) for value in exact], autojunk=False
    )
    for a, b, size in matcher.get_matching_blocks():
        partners.update({a + i: exact[b + i] for i in range(size)})
    return replace(trace, values=tuple(_measured(v, partners.get(v.index)) for v in own))


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.dtype == torch.float32 else tensor


def _kind(value: SourceValue) -> tuple[Any, ...]:
    return value.module, value.operator, value.array.shape


def _measured(value: SourceValue, exact: SourceValue | None) -> SourceValue:
    if exact is None:
        return replace(value, rounding=_UNKNOWN, inner_rounding=(_UNKNOWN,) * len(value.inner))
    inner: tuple[float, ...] = (_UNKNOWN,) * len(value.inner)
    if [a.shape for a in value.inner] == [a.shape for a in exact.inner]:
        inner = tuple(map(_rounding, value.inner, exact.inner))
    rounding = _rounding(value.array, exact.array)
    return replace(value, rounding=rounding, inner_rounding=inner)


def _rounding(array: NDArray[Any], exact: NDArray[Any]) -> float:
    if array.dtype.kind != "f" or not array.size:
        return _LEAST
    scale = float(np.abs(exact).max())
    error = float(np.abs(array - exact).max()) / scale if scale > 0 else 0.0
    return max(error, _LEAST) if np.isfinite(error) else _UNKNOWN
