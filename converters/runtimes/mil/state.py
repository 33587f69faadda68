"""Operators on states, whose values outlive a run (iOS18)."""

from __future__ import annotations

from torch import Tensor

from .ops import operator
from .values import StateCell


@operator("read_state")
def read_state(input: StateCell) -> Tensor:
    """The value that was written last."""
    return input.value


@operator("write_state")
def write_state(input: StateCell, data: Tensor) -> None:
    """Replaces the value; the operator has no result."""
    input.value = _same_shape(input, data)


@operator("coreml_update_state")
def coreml_update_state(state: StateCell, value: Tensor) -> Tensor:
    """Replaces the value and gives it."""
    state.value = _same_shape(state, value)
    return value


def _same_shape(state: StateCell, value: Tensor) -> Tensor:
    if value.shape != state.value.shape:
        raise ValueError(f"{list(value.shape)} into a state {list(state.value.shape)}")
    return value
