"""MIL blob storage, version 2: the file in which a CoreML package keeps its weights.

The file begins with a header of 64 bytes (count of blobs, version). A program points at a blob by
the offset of its metadata, 64 bytes too (sentinel, type, size in bytes, offset of the data, bits
of padding behind sub-byte values); metadata and data are aligned to 64 bytes, all numbers are
little-endian. The layout is that of `MILBlob/Blob/StorageFormat.hpp` in apple/coremltools.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass

from ...errors import ArtifactError
from .files import Regular

_HEADER = struct.Struct("<II")
_METADATA = struct.Struct("<IIQQQ")
_ALIGNMENT = 64
_VERSION = 2
_SENTINEL = 0xDEADBEEF

# The type of a blob's elements, by its number in the metadata.
_DTYPES = {
    1: "fp16", 2: "fp32", 3: "uint8", 4: "int8", 5: "bf16", 6: "int16", 7: "uint16", 8: "int4",
    9: "uint1", 10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32",
    16: "fp8e4m3fn", 17: "fp8e5m2",
}  # fmt: skip


@dataclass(frozen=True)
class Blob:
    """One stored tensor: its type, and its bytes as they lie in the file."""

    dtype: str
    data: memoryview
    padding_bits: int


class BlobFile:
    """A weight file, mapped into memory; reading a blob copies nothing.

    The mapping is private and writable: torch wants writable memory, the file stays as it is.
    """

    def __init__(self, file: Regular) -> None:
        self._name = file.path
        if file.size < _ALIGNMENT:
            raise ArtifactError(f"{self._name}: is too short for a weight file")
        try:
            mapped = mmap.mmap(file.descriptor, file.size, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{self._name}: cannot be mapped into memory: {error}") from None
        self._bytes = memoryview(mapped)
        _, version = _HEADER.unpack_from(self._bytes)
        if version != _VERSION:
            raise ArtifactError(f"{self._name}: is not a weight file of version {_VERSION}")

    def read(self, offset: int) -> Blob:
        """The blob whose metadata stands at `offset`; ArtifactError if there is none."""
        if offset % _ALIGNMENT or offset + _ALIGNMENT > len(self._bytes):
            raise ArtifactError(f"{self._name}: has no blob at offset {offset}")
        sentinel, number, size, start, padding = _METADATA.unpack_from(self._bytes, offset)
        if sentinel != _SENTINEL or number not in _DTYPES or padding >= 8:
            raise ArtifactError(f"{self._name}: what stands at offset {offset} is no blob")
        if start % _ALIGNMENT or start + size > len(self._bytes):
            raise ArtifactError(f"{self._name}: the blob at offset {offset} leaves the file")
        return Blob(_DTYPES[number], self._bytes[start : start + size], padding)
