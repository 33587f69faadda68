"""The table of operators and the reading of their arguments."""

from __future__ import annotations

import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS, operator
from converters.runtimes.mil.ops.arguments import integers, positive
from converters.runtimes.mil.ops.registry import since


def test_an_operator_is_defined_once() -> None:
    before = dict(OPERATORS)
    with pytest.raises(ValueError, match="relu has two definitions"):
        operator("relu")(torch.relu)
    assert before == OPERATORS


@pytest.mark.parametrize(
    ("op_set", "version", "expected"),
    [("CoreML6", 7, False), ("CoreML7", 7, True), ("CoreML8", 7, True), ("CoreML10", 7, True)],
)
def test_operator_sets_are_ordered_by_number(op_set: str, version: int, expected: bool) -> None:
    assert since(op_set, version) is expected


def test_an_axis_counts_from_either_end() -> None:
    assert [positive(axis, 3) for axis in (-3, -1, 0, 2)] == [0, 2, 0, 2]
    for axis in (-4, 3):
        with pytest.raises(IndexError, match=f"axis {axis} of a value with 3 dimensions"):
            positive(axis, 3)


def test_a_scalar_counts_as_a_list_of_one() -> None:
    assert integers(torch.tensor(3)) == [3]
    assert integers(None, (1, 2)) == [1, 2]
