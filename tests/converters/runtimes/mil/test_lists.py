"""Lists, operator by operator; in loops they are tested with control flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.runtimes.mil.lists import (
    list_gather,
    list_length,
    list_read,
    list_scatter,
    list_write,
    make_list,
)
from converters.runtimes.mil.values import MilList, UnknownOperator


def integers(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def scalar(value: int) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.int32)


def filled(*values: float, grows: bool = False) -> MilList:
    return MilList([torch.tensor([value, -value]) for value in values], grows)


@pytest.mark.parametrize("length", [0, 1, 5])
def test_make_and_length(length: int) -> None:
    ls = make_list([scalar(2)], scalar(length), torch.tensor(False))
    assert list_length(ls).item() == length and list_length(ls).dtype == torch.int32
    assert list_length(make_list([scalar(2)])).item() == 1


@pytest.mark.parametrize("index", [0, 1, 2])
def test_write_and_read(index: int) -> None:
    before = filled(1, 2, 3)
    after = list_write(before, scalar(index), torch.tensor([9.0, 8.0]))
    for place in range(3):
        wanted = [9, 8] if place == index else [place + 1, -place - 1]
        np.testing.assert_array_equal(list_read(after, scalar(place)), wanted)
        np.testing.assert_array_equal(list_read(before, scalar(place)), [place + 1, -place - 1])


def test_gather_and_scatter() -> None:
    ls = filled(1, 2, 3, 4)
    np.testing.assert_array_equal(list_gather(ls, integers(3, 0, 3)), [[4, -4], [1, -1], [4, -4]])
    after = list_scatter(ls, integers(2, 0), torch.tensor([[5.0, 6.0], [7.0, 8.0]]))
    np.testing.assert_array_equal(
        list_gather(after, integers(0, 1, 2, 3)), [[7, 8], [2, -2], [5, 6], [4, -4]]
    )


def test_a_list_that_grows() -> None:
    ls = list_write(filled(1, grows=True), scalar(3), torch.tensor([5.0, 6.0]))
    assert list_length(ls).item() == 4
    np.testing.assert_array_equal(list_read(ls, scalar(3)), [5, 6])
    with pytest.raises(UnknownOperator, match="never written"):
        list_read(ls, scalar(2))


@pytest.mark.parametrize("index", [-1, 2, 2**31 - 1])
def test_indices_outside(index: int) -> None:
    ls = filled(1, 2)
    value = torch.zeros(2)
    with pytest.raises(IndexError):
        list_read(ls, scalar(index))
    with pytest.raises(IndexError):
        list_write(ls, scalar(index), value)
    with pytest.raises(IndexError):
        list_gather(ls, integers(0, index))
    with pytest.raises(IndexError):
        list_scatter(ls, integers(index), value[None])


def test_absurd_lengths() -> None:
    with pytest.raises(ValueError, match="a list of 2147483647 elements"):
        make_list([scalar(2)], scalar(2**31 - 1))
    with pytest.raises(ValueError, match="a list of -1 elements"):
        make_list([scalar(2)], scalar(-1))
    with pytest.raises(ValueError, match="a list of 2147483647 elements"):
        list_write(filled(1, grows=True), scalar(2**31 - 2), torch.zeros(2))
    with pytest.raises(ValueError, match="indices for values"):
        list_scatter(filled(1, 2), integers(0, 1), torch.zeros(1, 2))
