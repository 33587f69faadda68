"""Stored numbers as NumPy arrays: the types of MIL, packed bits, blobs and immediate values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ArtifactError
from .blob import Blob

Array = NDArray[Any]

# Types as wide as a NumPy type.
WHOLE: dict[str, np.dtype[Any]] = {
    "bool": np.dtype(np.bool_),
    "fp16": np.dtype(np.float16), "fp32": np.dtype(np.float32), "fp64": np.dtype(np.float64),
    "int8": np.dtype(np.int8), "int16": np.dtype(np.int16), "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64), "uint8": np.dtype(np.uint8), "uint16": np.dtype(np.uint16),
    "uint32": np.dtype(np.uint32), "uint64": np.dtype(np.uint64),
}  # fmt: skip

# The fields of a TensorValue that hold the values of each kind of NumPy type.
_FIELDS = {
    "f": ("floats", "doubles"),
    "i": ("ints", "longInts"),
    "u": ("ints", "longInts"),
    "b": ("bools",),
    "U": ("strings",),
}

# Integers of less than a byte, packed without gaps from the least significant bit on.
PACKED_BITS = {"int4": 4, "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6}


def bits(dtype: str) -> int:
    """Bits that an element of this type takes in a file."""
    return PACKED_BITS.get(dtype) or (16 if dtype == "bf16" else 8 * WHOLE[dtype].itemsize)


def decode(data: Any, dtype: str, shape: tuple[int, ...]) -> Array:
    """Bytes as an array of `shape`; sub-byte integers come as int8 or uint8, bf16 as float32.

    Raises ValueError when the bytes are not exactly those of such an array, or when the type is
    not known.
    """
    count = math.prod(shape)
    if dtype not in PACKED_BITS and dtype not in WHOLE and dtype != "bf16":
        raise ValueError(f"values of type {dtype} are not known")
    if -(-count * bits(dtype) // 8) != len(data):
        raise ValueError(f"{len(data)} bytes for {count} values of type {dtype}")
    if dtype == "bf16":
        high = np.frombuffer(data, "<u2").astype(np.uint32)
        return (high << 16).view(np.float32).reshape(shape)
    if dtype in PACKED_BITS:
        return _unpacked(np.frombuffer(data, np.uint8), dtype, count).reshape(shape)
    return np.frombuffer(data, WHOLE[dtype].newbyteorder("<")).reshape(shape)


def unpack_bits(packed: Array, width: int, count: int) -> Array:
    """`count` unsigned integers of `width` bits each from bytes (uint8)."""
    each = np.unpackbits(packed, count=count * width, bitorder="little").reshape(count, width)
    values = np.zeros(count, np.uint8)
    for place in range(width):
        values |= each[:, place] << place
    return values


def _unpacked(packed: Array, dtype: str, count: int) -> Array:
    values = unpack_bits(packed, PACKED_BITS[dtype], count)
    return ((values ^ 8).astype(np.int8) - 8).astype(np.int8) if dtype == "int4" else values


def from_blob(blob: Blob, dtype: str, shape: tuple[int, ...]) -> Array:
    """A stored tensor; raises ValueError when it is not of the declared type and shape."""
    if blob.dtype != dtype and not (dtype == "bool" and blob.dtype == "uint8"):
        raise ValueError(f"{blob.dtype} is stored where {dtype} is declared")
    return decode(blob.data, dtype, shape)


def from_message(message: Any, dtype: str, shape: tuple[int, ...]) -> Array:
    """A tensor inside the program, of message type `MILSpec.TensorValue`.

    Raises ValueError when there are more or fewer values than the shape holds.
    """
    field = message.WhichOneof("value")
    if field == "bytes":
        return decode(message.bytes.values, dtype, shape)
    values = [] if field is None else getattr(message, field).values
    if len(values) != math.prod(shape):
        raise ValueError(f"{len(values)} values for the shape {list(shape)}")
    numpy_type = np.dtype(np.str_) if dtype == "string" else WHOLE.get(dtype)
    if numpy_type is None or field not in (None, *_FIELDS[numpy_type.kind]):
        raise ValueError(f"{field} where {dtype} is declared")
    try:
        return np.array(list(values), dtype=numpy_type).reshape(shape)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def refuse(culprit: object, what: str, error: Exception) -> ArtifactError:
    """The error for a constant of the file `culprit` that cannot be what it is declared as."""
    return ArtifactError(f"{culprit}: the constant {what} cannot be read: {error}")
