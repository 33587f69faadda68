"""The FlatBuffers writer, beside the reader and beside flatc, which executorch ships."""

from __future__ import annotations

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.formats.flatbuffer import Record, parse_schema, read_flatbuffer
from converters.formats.flatbuffer_writer import write_flatbuffer

TEXT = """
enum Kind : short { ONE = 0, TWO = 1 }
table Leaf { number: int; }
table Pair { first: long = 7; second: double; }
union Any { Leaf, Renamed: Pair }
table Root {
  small: ubyte;
  kind: Kind;
  any: Any;
  longs: [uint64];
  leaves: [Leaf];
  name: string;
  leaf: Leaf;
  ratio: float;
  flag: bool;
  old: int (deprecated);
  last: uint;
}
root_type Root;
file_identifier "TEST";
"""

FIELDS: dict[str, Any] = {
    "small": 255,
    "kind": "TWO",
    "any": ("Renamed", {"first": -(2**40), "second": 0.1}),
    "longs": [2**64 - 1, 5],
    "leaves": [{"number": 3}, {}, {"number": -4}],
    "name": "näme",
    "leaf": {"number": 11},
    "ratio": -np.inf,
    "flag": True,
    "last": 2**32 - 1,
}


def printed(data: bytes, folder: Path) -> Any:
    """The buffer as JSON, by flatc, which verifies it before."""
    (executorch,) = find_spec("executorch").submodule_search_locations
    (folder / "test.fbs").write_text(TEXT)
    (folder / "test.bin").write_bytes(data)
    command = [
        Path(executorch) / "data/bin/flatc", "--json", "--strict-json", "--raw-binary",
        "-o", folder, folder / "test.fbs", "--", folder / "test.bin",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return json.loads((folder / "test.json").read_text().replace("inf", "Infinity"))


def plain(record: Any) -> Any:
    """A record as `write_flatbuffer` takes it, with its defaults."""
    if isinstance(record, Record):
        return {name: plain(value) for name, value in record.fields.items()}
    if isinstance(record, tuple):
        return [plain(one) for one in record]
    return record.tolist() if isinstance(record, np.ndarray) else record


SCHEMA = parse_schema(TEXT)


def test_the_reader_finds_what_was_written() -> None:
    record = read_flatbuffer(SCHEMA, "Root", memoryview(write_flatbuffer(SCHEMA, "Root", FIELDS)))
    assert record["any"].type == "Renamed"
    found = plain(record)
    assert found.pop("any_type") == 2 and found.pop("old") == 0
    assert found.pop("ratio") == -np.inf
    assert found == {k: v for k, v in FIELDS.items() if k not in ("any", "ratio")} | {
        "any": {"first": -(2**40), "second": 0.1},
        "leaves": [{"number": 3}, {"number": 0}, {"number": -4}],
    }


def test_flatc_prints_what_was_written(tmp_path: Path) -> None:
    found = printed(write_flatbuffer(SCHEMA, "Root", FIELDS), tmp_path)
    assert found.pop("any_type") == "Renamed"
    assert found == FIELDS | {"any": {"first": -(2**40), "second": 0.1}}


def test_defaults_and_nothing_are_not_stored() -> None:
    """The same bytes as without them."""
    empty = write_flatbuffer(SCHEMA, "Root", {})
    fields = {"small": 0, "kind": "ONE", "name": None, "flag": False, "ratio": 0.0, "leaf": None}
    assert write_flatbuffer(SCHEMA, "Root", fields) == empty
    pair = [write_flatbuffer(SCHEMA, "Root", {"any": ("Renamed", f)}) for f in ({"first": 7}, {})]
    assert pair[0] == pair[1]
    zero = write_flatbuffer(SCHEMA, "Root", {"any": ("Renamed", {"first": 0})})
    assert read_flatbuffer(SCHEMA, "Root", memoryview(zero))["any"]["first"] == 0


def test_numbers_are_aligned() -> None:
    """Each to its size, wherever the table or vector ends up."""
    for length in range(9):
        for fields in ({"name": "x" * length}, {"name": "x" * length, "small": 1}):
            data = write_flatbuffer(SCHEMA, "Root", FIELDS | fields)
            record = read_flatbuffer(SCHEMA, "Root", memoryview(data))
            assert record.places["longs"] % 8 == 0 and record.places["last"] % 4 == 0
            assert record["any"].places["second"] % 8 == 0


@pytest.mark.parametrize(
    "fields", [{"lenght": 1}, {"kind": "THREE"}, {"any": ("Root", {})}, {"leaf": {"value": 1}}]
)
def test_names_that_the_schema_does_not_have(fields: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        write_flatbuffer(SCHEMA, "Root", fields)
