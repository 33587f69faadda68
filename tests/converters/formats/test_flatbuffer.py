"""The FlatBuffers reader, on buffers made with the FlatBuffers library."""

from __future__ import annotations

import struct
from typing import Any

import flatbuffers
import numpy as np
import pytest

from converters.formats.flatbuffer import FlatbufferError, parse_schema, read_flatbuffer

SCHEMA = parse_schema(
    """
    include "other.fbs";  // given as part of the text
    file_identifier "TEST";
    enum Kind : byte { ONE = 0, TWO = 1, }
    table Leaf { number: int; }
    table Pair { first: long = 7; second: double; }
    union Any { Leaf, Renamed: Pair }
    table Root {
      kind: Kind;
      any: Any;
      bytes: [ubyte] (force_align: 16);
      longs: [long];
      leaves: [Leaf];
      name: string;  // : with a colon
      leaf: Leaf;
      flag: bool;
    }
    """
)


def root(**slots: Any) -> memoryview:
    """A buffer with a Root; slots: 0 kind, 1 and 2 any, 3 bytes, 4 longs, 5 leaves, 6 name."""
    builder = flatbuffers.Builder()
    name = builder.CreateString("näme")
    builder.StartVector(8, 2, 8)
    for number in (-(2**40), 5):
        builder.PrependInt64(number)
    longs = builder.EndVector()
    leaves = []
    for number in (11, 12):
        builder.StartObject(1)
        builder.PrependInt32Slot(0, number, 0)
        leaves.append(builder.EndObject())
    builder.StartVector(4, 2, 4)
    for leaf in reversed(leaves):
        builder.PrependUOffsetTRelative(leaf)
    vector = builder.EndVector()
    builder.StartObject(2)
    builder.PrependFloat64Slot(1, 0.5, 0.0)
    pair = builder.EndObject()
    builder.StartObject(10)
    builder.PrependInt8Slot(0, slots.get("kind", 1), 0)
    builder.PrependUint8Slot(1, slots.get("any", 2), 0)
    builder.PrependUOffsetTRelativeSlot(2, pair, 0)
    builder.PrependUOffsetTRelativeSlot(4, longs, 0)
    builder.PrependUOffsetTRelativeSlot(5, vector, 0)
    builder.PrependUOffsetTRelativeSlot(6, name, 0)
    builder.PrependUint8Slot(9, 3, 0)  # of a newer schema
    builder.Finish(builder.EndObject(), b"TEST")
    return memoryview(bytes(builder.Output()))


def test_fields_and_defaults() -> None:
    data = root()
    record = read_flatbuffer(SCHEMA, "Root", data)
    assert record["kind"] == "TWO" and record["name"] == "näme"
    assert record["any"].type == "Renamed"
    assert (record["any"]["first"], record["any"]["second"]) == (7, 0.5)
    assert record["longs"].tolist() == [5, -(2**40)]
    assert [leaf["number"] for leaf in record["leaves"]] == [11, 12]
    assert record["leaf"] is None and record["flag"] is False
    assert record["bytes"].dtype == np.uint8 and len(record["bytes"]) == 0


def test_places_are_those_of_the_numbers() -> None:
    data = root()
    record = read_flatbuffer(SCHEMA, "Root", data)
    (second,) = struct.unpack_from("<d", data, record["any"].places["second"])
    assert second == 0.5 and "first" not in record["any"].places
    assert struct.unpack_from("<q", data, record.places["longs"])[0] == 5
    assert struct.unpack_from("<i", data, record["leaves"][1].places["number"])[0] == 12


@pytest.mark.parametrize(
    ("slots", "reason"), [({"kind": 9}, "has a Kind 9"), ({"any": 3}, "has a Any 3")]
)
def test_what_the_schema_does_not_know(slots: dict[str, int], reason: str) -> None:
    with pytest.raises(FlatbufferError, match=reason):
        read_flatbuffer(SCHEMA, "Root", root(**slots))


def test_every_prefix_is_refused() -> None:
    data = root()
    for length in range(len(data) - 4):  # the last bytes are a string's end and padding
        with pytest.raises(FlatbufferError):
            read_flatbuffer(SCHEMA, "Root", data[:length])


def test_every_changed_byte_is_read_or_refused() -> None:
    data = root()
    for place in range(len(data)):
        for value in (0, 1, 127, 128, 255):
            damaged = bytearray(data)
            damaged[place] = value
            try:
                read_flatbuffer(SCHEMA, "Root", memoryview(bytes(damaged)))
            except FlatbufferError as error:
                assert str(error).isprintable()


NESTED = parse_schema('file_identifier "TEST"; table Leaf { n: int; } table Root { v: [Leaf]; }')


@pytest.mark.parametrize(
    ("padding", "reason"), [(0, "has more than 300000 tables"), (100_000, "too often")]
)
def test_one_table_claimed_again_and_again(padding: int, reason: str) -> None:
    """A vector whose items all point at one table, which may be a large one."""
    count = 400_000 if not padding else 2_000
    leaf = struct.pack("<HHi", 4, 4 + padding % 2**16, 4) + bytes(padding)
    head = struct.pack("<I4sHHHH", 16, b"TEST", 6, 8, 4, 0)
    table = struct.pack("<iI", 8, 4)
    items = b"".join(struct.pack("<I", 4 * (count - i) + 4) for i in range(count))
    data = head + table + struct.pack("<I", count) + items + leaf
    with pytest.raises(FlatbufferError, match=reason):
        read_flatbuffer(NESTED, "Root", memoryview(data))
