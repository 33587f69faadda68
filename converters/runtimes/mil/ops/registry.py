"""The table of operators that the evaluator knows, filled by the decorator `operator`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

OPERATORS: dict[str, Callable[..., Any]] = {}


def operator(*types: str) -> Callable[[F], F]:
    """Registers a function as the meaning of the operator types named.

    Its parameters are named as in the MIL operator reference. Numbers and tensors arrive as
    torch.Tensor (0-d where the reference says scalar), strings as str, variadic inputs as lists.
    The keyword-only parameters `out` (the declared ValueTypes of the results) and `op_set`
    ("CoreML5" to "CoreML8") are given to those functions that ask for them.
    """

    def register(function: F) -> F:
        for name in types:
            if name in OPERATORS:
                raise ValueError(f"the operator {name} has two definitions")
            OPERATORS[name] = function
        return function

    return register


def since(op_set: str, version: int) -> bool:
    """Whether an operator set such as "CoreML7" is of this version or a later one."""
    return int(op_set.removeprefix("CoreML")) >= version
