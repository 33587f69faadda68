"""Reading the small arguments of an operator: sizes, axes, flags."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def integer(argument: Tensor | None, default: int) -> int:
    """The value of a scalar, or `default` where the program omits it."""
    return default if argument is None else int(argument)


def integers(argument: Tensor | None, default: Sequence[int] = ()) -> list[int]:
    """The values of a 1-d tensor (a scalar counts as one value), or `default`."""
    return list(default) if argument is None else argument.flatten().tolist()


def number(argument: Tensor | None, default: float) -> float:
    """The value of a scalar, or `default` where the program omits it."""
    return default if argument is None else float(argument)


def flag(argument: Tensor | None, default: bool = False) -> bool:
    """The value of a boolean scalar, or `default` where the program omits it."""
    return default if argument is None else bool(argument)


def positive(axis: int, rank: int) -> int:
    """An axis counted from the front. Raises IndexError where there is no such axis."""
    if not -rank <= axis < max(rank, 1):
        raise IndexError(f"axis {axis} of a value with {rank} dimensions")
    return axis % rank if rank else 0


def along_channels(vector: Tensor, rank: int) -> Tensor:
    """A vector (C) shaped to broadcast over (B,C,...) with `rank` dimensions."""
    return vector.reshape(-1, *[1] * (rank - 2))
