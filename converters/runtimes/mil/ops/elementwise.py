"""Elementwise arithmetic, comparison and logic; two operands broadcast as in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..numerics import HELD
from ..values import UnknownOperator
from .arguments import number
from .registry import operator

UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "floor": torch.floor,
    "logical_not": torch.logical_not,
    "round": torch.round,  # halves to the even neighbour
    "sign": torch.sign,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}

BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "equal": torch.eq,
    "floor_div": torch.floor_divide,  # rounds towards negative infinity
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,  # the sign is that of the divisor, as in Python
    "mul": torch.mul,
    "not_equal": torch.ne,
    "pow": torch.pow,
    "sub": torch.sub,
}


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def apply(x: Tensor) -> Tensor:
        return function(x)

    return apply


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def apply(x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)

    return apply


for _name, _one in UNARY.items():
    operator(_name)(_unary(_one))
for _name, _two in BINARY.items():
    operator(_name)(_binary(_two))


@operator("real_div")
def real_div(x: Tensor, y: Tensor) -> Tensor:
    """The quotient x / y.

    The reference gives a quotient of integers the type of an integer and does not say how it is
    rounded: only one that is whole is known.
    """
    if x.is_floating_point() or y.is_floating_point():
        return torch.div(x, y)
    if bool((y == 0).any()) or bool(torch.remainder(x, y).any()):
        raise UnknownOperator("real_div", "of integers, with a remainder")
    return torch.div(x, y, rounding_mode="trunc")


@operator("exp2")
def exp2(x: Tensor) -> Tensor:
    """2 to the power of x, of an integer as an integer."""
    return torch.exp2(x) if x.is_floating_point() else torch.exp2(x.double()).to(x.dtype)


@operator("inverse")
def inverse(x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    """1 / (x + epsilon). With the default of 1e-4 that is half of 1 / x at x = 1e-4."""
    return torch.reciprocal(x + number(epsilon, 1e-4))


@operator("rsqrt")
def rsqrt(x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    """1 / sqrt(x + epsilon), epsilon being 1e-12 unless given."""
    return torch.rsqrt(x + number(epsilon, 1e-12))


@operator("log")
def log(x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    """The natural logarithm of x + epsilon, epsilon being 1e-45 unless given."""
    return torch.log(x + number(epsilon, 1e-45))


@operator("clip")
def clip(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """min(max(x, alpha), beta)"""
    return torch.clamp(x, float(alpha), float(beta))


@operator("threshold")
def threshold(x: Tensor, alpha: Tensor) -> Tensor:
    """max(x, alpha)"""
    return torch.maximum(x, alpha)


@operator("select")
def select(cond: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    """Where cond holds a, else b, broadcast; without these the places (n, rank) where it holds."""
    if a is None or b is None:
        return torch.nonzero(cond).to(torch.int32)
    return torch.where(cond, a, b)


@operator("cast")
def cast(x: Tensor, dtype: str) -> Tensor:
    """The same in another type: integers are rounded towards zero, anything but 0 is true.

    Numbers become double here; the evaluator rounds them to the type declared.
    """
    if dtype in ("fp16", "fp32", "fp64"):
        return x if x.is_floating_point() else x.double()
    if dtype == "bool":
        return x != 0
    if dtype in HELD:
        return x.to(HELD[dtype])
    raise UnknownOperator("cast", f"to {dtype}")
