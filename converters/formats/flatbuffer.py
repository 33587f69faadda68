"""FlatBuffers that may be damaged, read by the schema text (`.fbs`) that the vendor ships.

The FlatBuffers library for Python verifies nothing: an offset may point anywhere, and a few bytes
may claim millions of tables. Here each offset, size and vtable is checked against the buffer, and
what is read in all is bounded by the buffer's own size. The format is FlatBuffers' "internals"
document: little-endian, offsets relative to where they stand, fields by slot in a vtable.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# The letters mean the same to struct and to NumPy.
_DTYPES = {
    "bool": "<?", "byte": "<b", "ubyte": "<B", "short": "<h", "ushort": "<H", "int": "<i",
    "uint": "<I", "uint32": "<I", "float": "<f", "long": "<q", "int64": "<q", "uint64": "<Q",
    "double": "<d",
}  # fmt: skip
# A sound buffer holds each byte for one reader; writers may share vtables and equal strings.
_READ_LIMIT = 8  # times a buffer's size
_TABLE_LIMIT = 300_000  # each takes about a kilobyte here; a mobile network has under ten thousand


class FlatbufferError(ValueError):
    """A buffer that its schema does not describe."""


@dataclass(frozen=True)
class Field:
    name: str
    type: str  # "int", "[Tensor]"; of a union, the slot before holds which member it is
    default: str | None


@dataclass(frozen=True)
class Enumeration:
    dtype: str
    names: Mapping[int, str]


@dataclass(frozen=True)
class Schema:
    """Tables with their fields by slot, unions with their members from 1, and enumerations."""

    tables: Mapping[str, tuple[Field, ...]]
    unions: Mapping[str, tuple[tuple[str, str], ...]]  # of (member, its table)
    enumerations: Mapping[str, Enumeration]
    identifier: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """A table: each field of its type by name, the absent ones with their defaults.

    A table that is absent is None; a union's member is a record of the member's name. Vectors of
    numbers are read-only arrays over the buffer, other vectors are tuples. `places` has the
    positions, in bytes from the buffer's start, of the numbers that are present and of the first
    item of each vector of numbers.
    """

    type: str
    fields: Mapping[str, Any]
    places: Mapping[str, int]

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


def parse_schema(text: str) -> Schema:
    """The definitions in the text of a `.fbs` file; includes are given as part of the text."""
    text = re.sub(r"//[^\n]*", "", text)
    tables: dict[str, tuple[Field, ...]] = {}
    unions: dict[str, tuple[tuple[str, str], ...]] = {}
    enumerations: dict[str, Enumeration] = {}
    for kind, name, base, body in re.findall(
        r"\b(table|union|enum)\s+(\w+)\s*(?::\s*(\w+))?\s*\{([^}]*)\}", text
    ):
        if kind == "table":
            tables[name] = tuple(_slots(body, set(unions)))
        elif kind == "union":
            members = (item.split(":") for item in body.replace(" ", "").split(",") if item.strip())
            unions[name] = tuple((item[0].strip(), item[-1].strip()) for item in members)
        else:
            values = re.findall(r"(\w+)\s*=\s*(\d+)", body)
            enumerations[name] = Enumeration(_DTYPES[base], {int(v): n for n, v in values})
    identifier = re.search(r'file_identifier\s+"(....)"', text)
    return Schema(tables, unions, enumerations, identifier[1].encode() if identifier else b"")


def _slots(body: str, unions: set[str]) -> list[Field]:
    slots = []
    for name, kind, default in re.findall(r"(\w+)\s*:\s*(\[?\w+\]?)\s*(?:=\s*(\w+))?[^;]*;", body):
        if kind in unions:
            slots.append(Field(f"{name}_type", "ubyte", None))
        slots.append(Field(name, kind, default or None))
    return slots


def read_flatbuffer(schema: Schema, root: str, data: memoryview) -> Record:
    """The table `root` of a buffer, with all that hangs on it.

    Raises FlatbufferError where the buffer is not what the schema describes.
    """
    if data[4:8].tobytes() != schema.identifier:
        raise FlatbufferError(f"has no identifier {schema.identifier.decode()}")
    reader = _Reader(schema, data)
    return reader.table(root, reader.follow(0), root)


class _Reader:
    def __init__(self, schema: Schema, data: memoryview) -> None:
        self._schema = schema
        self._data = data
        self._left = _READ_LIMIT * len(data)  # bytes
        self._tables_left = _TABLE_LIMIT

    def _check(self, start: int, size: int) -> None:
        if start < 0 or start + size > len(self._data):
            raise FlatbufferError("points outside itself")
        self._left -= size
        if self._left < 0:
            raise FlatbufferError("refers to the same bytes too often")

    def _number(self, dtype: str, place: int) -> Any:
        self._check(place, struct.calcsize(dtype))
        return struct.unpack_from(dtype, self._data, place)[0]

    def follow(self, place: int) -> int:
        """Where the offset at `place` points."""
        offset: int = self._number("<I", place)
        return place + offset

    def table(self, name: str, start: int, shown: str) -> Record:
        self._tables_left -= 1
        if self._tables_left < 0:
            raise FlatbufferError(f"has more than {_TABLE_LIMIT} tables")
        vtable = start - self._number("<i", start)
        vtable_size, table_size = self._number("<H", vtable), self._number("<H", vtable + 2)
        if vtable_size < 4 or vtable_size % 2 or table_size < 4:
            raise FlatbufferError(f"has a damaged {shown}")
        self._check(vtable, vtable_size)
        self._check(start, table_size)
        present = struct.unpack_from(f"<{vtable_size // 2 - 2}H", self._data, vtable + 4)
        fields: dict[str, Any] = {}
        places: dict[str, int] = {}
        for slot, field in enumerate(self._schema.tables[name]):
            offset = present[slot] if slot < len(present) else 0
            if offset and not 4 <= offset < table_size:
                raise FlatbufferError(f"has a damaged {shown}")
            place = start + offset if offset else None
            fields[field.name] = self._value(field, place, fields, places)
        return Record(shown, fields, places)

    def _value(
        self, field: Field, place: int | None, before: Mapping[str, Any], places: dict[str, int]
    ) -> Any:
        kind, schema = field.type, self._schema
        if kind in schema.enumerations:
            enumeration = schema.enumerations[kind]
            if place is not None:
                places[field.name] = place
            value = 0 if place is None else self._number(enumeration.dtype, place)
            if value not in enumeration.names:
                raise FlatbufferError(f"has a {kind} {value} that is not known")
            return enumeration.names[value]
        if kind in _DTYPES:
            if place is None:
                zero = {"float": 0.0, "double": 0.0, "bool": False}.get(kind, 0)
                return zero if field.default is None else int(field.default)
            places[field.name] = place
            return self._number(_DTYPES[kind], place)
        if kind in schema.unions:
            return self._member(kind, before[f"{field.name}_type"], place)
        if kind == "string":
            return "" if place is None else self._string(self.follow(place))
        if kind.startswith("["):
            return self._vector(kind[1:-1], place, field.name, places)
        return None if place is None else self.table(kind, self.follow(place), kind)

    def _member(self, union: str, which: int, place: int | None) -> Record | None:
        members = self._schema.unions[union]
        if which > len(members):
            raise FlatbufferError(f"has a {union} {which} that is not known")
        if not which or place is None:
            return None
        name, table = members[which - 1]
        return self.table(table, self.follow(place), name)

    def _string(self, start: int) -> str:
        length = self._number("<I", start)
        self._check(start + 4, length)
        try:
            return self._data[start + 4 : start + 4 + length].tobytes().decode()
        except UnicodeDecodeError:
            raise FlatbufferError("has text that is not UTF-8") from None

    def _vector(
        self, item: str, place: int | None, name: str, places: dict[str, int]
    ) -> np.ndarray[Any, Any] | tuple[Any, ...]:
        if item in _DTYPES:
            dtype = np.dtype(_DTYPES[item])
            if place is None:
                return np.empty(0, dtype)
            start = self.follow(place)
            count = self._number("<I", start)
            self._check(start + 4, count * dtype.itemsize)
            places[name] = start + 4
            return np.frombuffer(self._data, dtype, count, start + 4)
        if place is None:
            return ()
        start = self.follow(place)
        count = self._number("<I", start)
        self._check(start + 4, 4 * count)
        found = (self.follow(start + 4 + 4 * i) for i in range(count))
        return tuple(self.table(item, where, item) for where in found)
