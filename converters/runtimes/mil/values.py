"""What flows between the operators of a MIL program besides tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class UnknownOperator(Exception):
    """An operator, or a use of one, whose meaning the evaluator does not know.

    Nothing can be said about a program that holds it: the verdict is "unverified", never "pass".
    """

    def __init__(self, operator: str, use: str = "") -> None:
        super().__init__(f"{operator} ({use})" if use else operator)
        self.operator = operator


@dataclass(frozen=True)
class MilList:
    """A MIL list: tensors of one type, None where nothing was written yet."""

    items: list[Tensor | None]
    grows: bool


@dataclass
class StateCell:
    """A value that outlives a run; the tensor in it is replaced, never changed in place."""

    value: Tensor
