"""Operators on states; across runs they are tested with the evaluator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from converters.runtimes.mil.state import coreml_update_state, read_state, write_state
from converters.runtimes.mil.values import StateCell


def test_what_is_written_is_read() -> None:
    cell = StateCell(torch.zeros(2))
    before = read_state(cell)
    write_state(cell, torch.tensor([1.0, 2.0]))
    assert read_state(cell).tolist() == [1, 2]
    assert coreml_update_state(cell, torch.tensor([3.0, 4.0])).tolist() == [3, 4]
    assert read_state(cell).tolist() == [3, 4]
    assert before.tolist() == [0, 0]  # what was read stays as it was


@pytest.mark.parametrize("write", [write_state, coreml_update_state])
def test_another_shape(write: Callable[..., Any]) -> None:
    cell = StateCell(torch.zeros(2))
    with pytest.raises(ValueError, match=r"\[3\] into a state \[2\]"):
        write(cell, torch.zeros(3))
    assert read_state(cell).shape == (2,)
