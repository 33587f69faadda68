"""Operators on lists of tensors, as loops use them to collect what each turn gives."""

from __future__ import annotations

import torch
from torch import Tensor

from .ops import operator
from .values import MilList, UnknownOperator

MAX_LENGTH = 2**20


@operator("make_list")
def make_list(
    elem_shape: list[Tensor | str],
    init_length: Tensor | None = None,
    dynamic_length: Tensor | None = None,
    dtype: str = "fp32",
) -> MilList:
    """A list of `init_length` (1) elements that nothing was written to yet.

    With `dynamic_length`, the default, writing behind the end makes it longer.
    """
    length = 1 if init_length is None else int(init_length)
    grows = dynamic_length is None or bool(dynamic_length)
    return MilList([None] * _checked(length), grows)


@operator("list_length")
def list_length(ls: MilList) -> Tensor:
    """The number of elements, those that were never written included."""
    return torch.tensor(len(ls.items), dtype=torch.int32)


@operator("list_read")
def list_read(ls: MilList, index: Tensor) -> Tensor:
    """One element."""
    return _element("list_read", ls, int(index))


@operator("list_write")
def list_write(ls: MilList, index: Tensor, value: Tensor) -> MilList:
    """The list with another element at `index`."""
    return _written(ls, [int(index)], [value])


@operator("list_gather")
def list_gather(ls: MilList, indices: Tensor) -> Tensor:
    """The elements at `indices` (K), stacked: (K,...)."""
    return torch.stack([_element("list_gather", ls, index) for index in indices.tolist()])


@operator("list_scatter")
def list_scatter(ls: MilList, indices: Tensor, value: Tensor) -> MilList:
    """The list with the slices of `value` (K,...) at `indices` (K)."""
    if indices.dim() != 1 or len(indices) != len(value):
        raise ValueError(f"{list(indices.shape)} indices for values {list(value.shape)}")
    return _written(ls, indices.tolist(), list(value))


def _element(operator_: str, ls: MilList, index: int) -> Tensor:
    if not 0 <= index < len(ls.items):
        raise IndexError(f"element {index} of a list of {len(ls.items)}")
    value = ls.items[index]
    if value is None:
        raise UnknownOperator(operator_, "of an element that was never written")
    return value


def _written(ls: MilList, indices: list[int], values: list[Tensor]) -> MilList:
    items = list(ls.items)
    for index, value in zip(indices, values, strict=True):
        if index < 0 or (index >= len(items) and not ls.grows):
            raise IndexError(f"element {index} of a list of {len(items)}")
        items += [None] * (_checked(index + 1) - len(items))
        items[index] = value
    return MilList(items, ls.grows)


def _checked(length: int) -> int:
    if not 0 <= length <= MAX_LENGTH:
        raise ValueError(f"a list of {length} elements")
    return length
