"""FlatBuffers written by the schema text (`.fbs`) that the vendor ships.

The FlatBuffers library lays out the bytes; it is told here which value stands in which slot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np

from .flatbuffer import Schema

# What the library calls a number of each type; in lower case, what NumPy calls it.
_NUMBERS = {
    "bool": "Bool", "byte": "Int8", "ubyte": "Uint8", "short": "Int16", "ushort": "Uint16",
    "int": "Int32", "uint": "Uint32", "uint32": "Uint32", "float": "Float32", "long": "Int64",
    "int64": "Int64", "uint64": "Uint64", "double": "Float64",
}  # fmt: skip


def write_flatbuffer(schema: Schema, root: str, fields: Mapping[str, Any]) -> bytes:
    """A buffer that holds the table `root`, with these fields by name.

    A table is a mapping, a vector any sequence, a union a pair of its member and that member's
    fields; an enumeration goes by name. Fields that are left out or None are absent, as are
    numbers that equal their default. Raises KeyError for a name that the schema does not have.
    """
    writer = _Writer(schema)
    return writer.finish(writer.table(root, fields))


class _Writer:
    def __init__(self, schema: Schema) -> None:
        self._builder = flatbuffers.Builder(2**16)
        self._identifier = schema.identifier
        self._slots = {
            table: {
                field.name: (slot, field.type, field.default) for slot, field in enumerate(fields)
            }
            for table, fields in schema.tables.items()
        }
        self._members = {
            union: {member: (i, table) for i, (member, table) in enumerate(members, 1)}
            for union, members in schema.unions.items()
        }
        self._numbers = {
            kind: {name: number for number, name in enumeration.names.items()}
            for kind, enumeration in schema.enumerations.items()
        }
        types = _NUMBERS | {
            kind: np.dtype(enumeration.dtype).name.capitalize()
            for kind, enumeration in schema.enumerations.items()
        }
        self._prepend = {
            kind: getattr(self._builder, f"Prepend{name}Slot") for kind, name in types.items()
        }

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, self._identifier)
        return bytes(self._builder.Output())

    def table(self, name: str, fields: Mapping[str, Any]) -> int:
        """Writes a table, behind all that it refers to; gives its offset."""
        builder = self._builder
        slots = self._slots[name]
        placed = []
        for key, value in fields.items():
            slot, kind, default = slots[key]
            if value is None:
                continue
            if kind in _NUMBERS:
                placed.append((self._prepend[kind], slot, value, int(default or 0)))
            elif kind in self._numbers:
                placed.append((self._prepend[kind], slot, self._numbers[kind][value], 0))
            else:
                if kind in self._members:
                    member, value = value
                    number, kind = self._members[kind][member]
                    placed.append((builder.PrependUint8Slot, slot - 1, number, 0))
                offset = self._referred(kind, value)
                placed.append((builder.PrependUOffsetTRelativeSlot, slot, offset, 0))
        builder.StartObject(len(slots))
        for prepend, slot, value, absent in placed:
            prepend(slot, value, absent)
        return int(builder.EndObject())

    def _referred(self, kind: str, value: Any) -> int:
        """Writes a string, a vector or a table; gives its offset."""
        builder = self._builder
        if kind == "string":
            return int(builder.CreateString(value))
        if not kind.startswith("["):
            return self.table(kind, value)
        item = kind[1:-1]
        if item in _NUMBERS:
            return int(builder.CreateNumpyVector(np.asarray(value, _NUMBERS[item].lower())))
        offsets = [self.table(item, one) for one in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):  # the buffer grows towards its start
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())
