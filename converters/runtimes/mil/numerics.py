"""The numbers that the evaluator computes with, and what becomes of a declared type in them.

In the mode "storage" operators compute in float32 and every result is rounded to its declared
type, as on a device that stores fp16 and accumulates wider. In the mode "exact" they compute in
float64 and activations are not rounded, which leaves the rounding of the stored weights. Both are
estimates of a device's numerics, and bounds of nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .constants import WHOLE, Array
from .limits import check_shape
from .program import Content, DictionaryType, ListType, StateType, Type, ValueType
from .values import MilList, UnknownOperator

Mode: TypeAlias = Literal["storage", "exact"]

_FLOATS = {"fp16": torch.float16, "fp32": torch.float32, "fp64": torch.float64}

# What holds each type that is no float; torch computes little on wide unsigned integers.
HELD = {
    "bool": torch.bool, "int4": torch.int8, "int8": torch.int8, "int16": torch.int16,
    "int32": torch.int32, "int64": torch.int64, "uint1": torch.uint8, "uint2": torch.uint8,
    "uint3": torch.uint8, "uint4": torch.uint8, "uint6": torch.uint8, "uint8": torch.uint8,
    "uint16": torch.int32, "uint32": torch.int64,
}  # fmt: skip


def check_size(type_: Type) -> None:
    """Raises ValueError for a type whose values could not be held."""
    if isinstance(type_, ListType):
        check_size(type_.element)
    elif isinstance(type_, StateType):
        check_size(type_.wrapped)
    elif isinstance(type_, ValueType):
        check_shape(type_.shape)


@dataclass(frozen=True)
class Numerics:
    """The compute type, and whether results are rounded to the type that they are declared as."""

    compute: torch.dtype
    rounds: bool

    def content(self, content: Content, type_: Type) -> Any:
        """A constant as operators take it: a tensor, a str, or a list of strings or integers."""
        if isinstance(content, str):
            return content
        if isinstance(content, tuple):
            return [one if isinstance(one, str) else np.asarray(one).item() for one in content]
        if content.dtype.kind == "U":
            return content.tolist()
        assert isinstance(type_, ValueType)
        return self.tensor(content, type_.dtype)

    def tensor(self, array: Array, dtype: str) -> Tensor:
        """An array that is declared `dtype`, in the type that it is computed in."""
        if dtype in _FLOATS or dtype == "bf16":
            tensor = _tensor(array).to(self.compute)
            return self.rounded(tensor, dtype)
        if dtype not in HELD:
            raise UnknownOperator("const", f"values of type {dtype}")
        held = HELD[dtype]
        if dtype in ("uint16", "uint32"):
            array = array.astype(np.int64)
        return _tensor(array).to(held)

    def rounded(self, tensor: Tensor, dtype: str) -> Tensor:
        """A float tensor with the values that `dtype` can hold."""
        if not self.rounds or dtype not in ("fp16", "bf16"):
            return tensor
        stored = torch.float16 if dtype == "fp16" else torch.bfloat16
        return tensor.to(stored).to(self.compute)

    def array(self, tensor: Tensor, dtype: str) -> Array:
        """A result as an array of its declared type; in the mode "exact" floats are float64."""
        if dtype in _FLOATS and self.rounds:
            return tensor.to(_FLOATS[dtype]).numpy()
        array: Array = tensor.numpy()
        return array.astype(WHOLE[dtype]) if dtype in HELD and dtype in WHOLE else array


NUMERICS: dict[Mode, Numerics] = {
    "storage": Numerics(torch.float32, rounds=True),
    "exact": Numerics(torch.float64, rounds=False),
}


class Declared:
    """A declared type, against which results are held and to which they are rounded."""

    def __init__(self, type_: Type) -> None:
        self._type = type_
        self._tensor = isinstance(type_, ValueType) and type_.dtype != "string"
        if isinstance(type_, ValueType):
            self._shape = type_.shape
            self._known = None not in type_.shape
            self._dtype = type_.dtype
            self._float = type_.dtype in _FLOATS or type_.dtype == "bf16"

    def settle(self, result: Any, numerics: Numerics) -> Any:
        """The result as later operators see it.

        Raises TypeError or ValueError when an operator gives something else than is declared.
        """
        if not self._tensor:
            return self._other(result)
        if not isinstance(result, Tensor):
            raise TypeError(f"gives no tensor where {self._dtype} is declared")
        shape = result.shape
        if shape != self._shape and (self._known or not self._fits(shape)):
            declared = ["?" if n is None else n for n in self._shape]
            raise ValueError(f"gives the shape {list(shape)} where {declared} is declared")
        if self._float:
            if not result.is_floating_point():
                raise TypeError(f"gives {result.dtype} where {self._dtype} is declared")
            if result.dtype is not numerics.compute:
                result = result.to(numerics.compute)
            return numerics.rounded(result, self._dtype)
        held = HELD.get(self._dtype)
        if held is None:
            raise TypeError(f"is declared as {self._dtype}, which is not known")
        if result.dtype is held:
            return result
        if result.is_floating_point() or torch.bool in (result.dtype, held):
            raise TypeError(f"gives {result.dtype} where {self._dtype} is declared")
        return result.to(held)

    def _fits(self, shape: torch.Size) -> bool:
        return len(shape) == len(self._shape) and all(
            declared in (None, size) for declared, size in zip(self._shape, shape, strict=True)
        )

    def _other(self, result: Any) -> Any:
        fits = (
            isinstance(result, MilList)
            if isinstance(self._type, ListType)
            else isinstance(result, str | Tensor)
            if isinstance(self._type, ValueType | DictionaryType)
            else False
        )
        if not fits:
            raise TypeError(f"gives {type(result).__name__} where {self._type} is declared")
        return result


def _tensor(array: Array) -> Tensor:
    """Shares memory where it can; torch wants it writable, and numbers in native byte order."""
    usable = array.flags.writeable and array.flags.c_contiguous and array.dtype.isnative
    return torch.from_numpy(array if usable else array.astype(array.dtype.newbyteorder("=")))
