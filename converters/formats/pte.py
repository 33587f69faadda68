"""The structure of a saved `.pte` (an ExecuTorch program), read without running it.

The file is a FlatBuffer (`program.fbs`, which comes with executorch), behind whose first eight
bytes stands a header that says where the segments are: delegates' payloads and weights, outside
the FlatBuffer. What the fields mean is documented in that schema.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import mmap
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import ArtifactError, MissingExtraError
from .flatbuffer import FlatbufferError, Record, Schema, parse_schema, read_flatbuffer

_HEADER = slice(8, 40)  # "eh00", its size, then size of the FlatBuffer, segments' start and size
_DTYPES = {
    "BYTE": ("uint8", 1), "CHAR": ("int8", 1), "SHORT": ("int16", 2), "INT": ("int32", 4),
    "LONG": ("int64", 8), "HALF": ("float16", 2), "FLOAT": ("float32", 4),
    "DOUBLE": ("float64", 8), "BOOL": ("bool", 1), "QINT8": ("qint8", 1), "QUINT8": ("quint8", 1),
    "QINT32": ("qint32", 4), "BFLOAT16": ("bfloat16", 2), "QUINT4X2": ("quint4x2", 1),
    "QUINT2X4": ("quint2x4", 1), "BITS16": ("bits16", 2), "FLOAT8E5M2": ("float8_e5m2", 1),
    "FLOAT8E4M3FN": ("float8_e4m3fn", 1), "FLOAT8E5M2FNUZ": ("float8_e5m2fnuz", 1),
    "FLOAT8E4M3FNUZ": ("float8_e4m3fnuz", 1), "UINT16": ("uint16", 2), "UINT32": ("uint32", 4),
    "UINT64": ("uint64", 8),
}  # fmt: skip


@dataclass(frozen=True)
class Blob:
    """Bytes of the file, from `start` on."""

    start: int
    data: memoryview


@dataclass(frozen=True)
class Tensor:
    """A tensor of a method, with the largest shape that it can have."""

    dtype: str
    shape: tuple[int, ...]
    dim_order: tuple[int, ...]  # outermost axis first
    is_dynamic: bool
    constant: Blob | None  # its data, of a weight in this file
    memory: tuple[int, int] | None  # id of the planned memory, offset in it in bytes

    @property
    def size(self) -> int:
        """Bytes of its elements at its largest shape."""
        return math.prod(self.shape) * _ITEM_SIZES[self.dtype]


@dataclass(frozen=True)
class Number:
    """An argument that is one number; `place` is its position in the file, if it is stored.

    A zero is not stored.
    """

    value: int | float | bool
    place: int | None


@dataclass(frozen=True)
class List:
    """An argument that is a list; of `int`, `tensor` and `optional_tensor` the items are values."""

    kind: Literal["int", "double", "bool", "tensor", "optional_tensor"]
    items: tuple[int | float | bool, ...]


Value = Tensor | Number | List | str | None


@dataclass(frozen=True)
class Instruction:
    """A step of a method; `arguments` are values, of which it reads some and writes others.

    The file does not tell the two apart: what is written is a tensor that no earlier step has
    written and that is neither input nor constant. A mutable buffer counts as read.
    """

    kind: Literal["kernel", "delegate", "move", "jump", "free"]
    name: str  # of the operator with its overload, "aten::mean.out"; or of the delegate's backend
    arguments: tuple[int, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    delegate: int | None


@dataclass(frozen=True)
class Delegate:
    backend: str
    payload: Blob
    compile_specs: Mapping[str, bytes]


@dataclass(frozen=True)
class Method:
    """Inputs and outputs are values; `planned_memory` in bytes, one figure an arena."""

    name: str
    values: tuple[Value, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    instructions: tuple[Instruction, ...]
    delegates: tuple[Delegate, ...]
    planned_memory: tuple[int, ...]

    def outside(self) -> dict[str, int]:
        """Operators that no delegate runs, with counts, the most frequent first."""
        names = (step.name for step in self.instructions if step.kind == "kernel")
        return dict(Counter(names).most_common())


@dataclass(frozen=True)
class PteProgram:
    """`named_data` are the blobs that delegates share by name, weights mostly."""

    path: Path
    version: int
    methods: tuple[Method, ...]
    named_data: Mapping[str, Blob]

    def method(self, name: str = "forward") -> Method:
        """Raises ArtifactError if the file has no such method."""
        for method in self.methods:
            if method.name == name:
                return method
        raise ArtifactError(f"{self.path}: has no method '{name}'")

    def weight_bytes(self) -> dict[str, int]:
        """Bytes of the constants outside delegates, by type; shared ones count once."""
        constants = {
            (value.constant.start, value.dtype): value.size
            for method in self.methods
            for value in method.values
            if isinstance(value, Tensor) and value.constant is not None
        }
        counts: Counter[str] = Counter()
        for (_, dtype), size in constants.items():
            counts[dtype] += size
        return dict(counts.most_common())


def read_pte(path: Path) -> PteProgram:
    """Reads a program; its blobs are views of the file, which is mapped and not copied.

    Raises ArtifactError, naming the file, where it is missing, damaged or none of ExecuTorch's;
    MissingExtraError without executorch, whose schema is read (executorch is not imported).
    """
    data = _mapped(path)
    try:
        header = _read_header(data)
        record = read_flatbuffer(_schema(), "Program", data[: header.program_size])
        return _Reader(path, data, header.segments_start, record).program()
    except FlatbufferError as error:
        raise ArtifactError(f"{path}: is not a sound .pte file: it {error}") from None


def vendor_schema(*files: str) -> Schema:
    """The schema in these files of the installed executorch, which is not imported."""
    executorch = importlib.util.find_spec("executorch")
    if executorch is None or not executorch.submodule_search_locations:
        raise MissingExtraError("executorch", "executorch")
    folder = Path(next(iter(executorch.submodule_search_locations)))
    return parse_schema("\n".join((folder / f).read_text(encoding="utf-8") for f in files))


@functools.cache
def _schema() -> Schema:
    return vendor_schema("schema/scalar_type.fbs", "schema/program.fbs")


def _mapped(path: Path) -> memoryview:
    try:
        # A pipe without a writer would block, were it not for O_NONBLOCK.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb"):
            return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:  # a pipe or device is empty too
        raise ArtifactError(f"{path}: is empty") from None


@dataclass(frozen=True)
class _Header:
    program_size: int
    segments_start: int


def _read_header(data: memoryview) -> _Header:
    """Where the FlatBuffer ends and the segments begin; files of old have no header."""
    header = data[_HEADER].tobytes()
    if header[:4] != b"eh00":
        return _Header(len(data), len(data))
    numbers = [int.from_bytes(header[i : i + 8], "little") for i in (8, 16)]
    if int.from_bytes(header[4:8], "little") < 24 or max(numbers) > len(data):
        raise FlatbufferError("has a damaged header")
    return _Header(*numbers)


class _Reader:
    """Turns the FlatBuffer's tables into the dataclasses above, and checks what they refer to."""

    def __init__(self, path: Path, data: memoryview, segments_start: int, record: Record) -> None:
        self._path = path
        self._record = record
        self._data = data
        self._segments = tuple(
            self._blob(segments_start + segment["offset"], segment["size"])
            for segment in record["segments"]
        )

    def program(self) -> PteProgram:
        named = {
            entry["key"]: _item(self._segments, entry["segment_index"], "segment")
            for entry in self._record["named_data"]
        }
        methods = tuple(self._method(plan) for plan in self._record["execution_plan"])
        if not methods:
            raise FlatbufferError("has no method")
        return PteProgram(self._path, self._record["version"], methods, named)

    def _blob(self, start: int, size: int) -> Blob:
        if start + size > len(self._data):
            raise FlatbufferError("ends before its data")
        return Blob(start, self._data[start : start + size])

    def _method(self, plan: Record) -> Method:
        values = tuple(self._value(entry["val"]) for entry in plan["values"])
        inputs, outputs = _indices(plan["inputs"], values), _indices(plan["outputs"], values)
        operators = [
            op["name"] + (f".{op['overload']}" if op["overload"] else "")
            for op in plan["operators"]
        ]
        delegates = tuple(self._delegate(entry) for entry in plan["delegates"])
        steps = [step for chain in plan["chains"] for step in chain["instructions"]]
        unwritten = {
            i for i, value in enumerate(values)
            if isinstance(value, Tensor) and value.constant is None
        }.difference(inputs)  # fmt: skip
        instructions = []
        for step in steps:
            instruction = _instruction(step["instr_args"], values, operators, delegates, unwritten)
            unwritten.difference_update(instruction.writes)
            instructions.append(instruction)
        sizes = tuple(int(size) for size in plan["non_const_buffer_sizes"])
        if min(sizes, default=0) < 0:
            raise FlatbufferError("plans a negative size of memory")
        return Method(plan["name"], values, inputs, outputs, tuple(instructions), delegates, sizes)

    def _value(self, record: Record | None) -> Value:
        if record is None or record.type == "Null":
            return None
        if record.type == "Tensor":
            return self._tensor(record)
        if record.type == "String":
            text: str = record["string_val"]
            return text
        if record.type in _NUMBERS:
            name = _NUMBERS[record.type]
            return Number(record[name], record.places.get(name))
        return List(_LISTS[record.type], tuple(record["items"].tolist()))

    def _tensor(self, record: Record) -> Tensor:
        if record["scalar_type"] not in _DTYPES:
            raise FlatbufferError(f"has a tensor of type {record['scalar_type']}")
        dtype, item_size = _DTYPES[record["scalar_type"]]
        shape = tuple(record["sizes"].tolist())
        if min(shape, default=0) < 0 or record["storage_offset"]:
            raise FlatbufferError("has a damaged tensor")
        planned = record["allocation_info"]
        memory = None
        if planned is not None:
            offset = planned["memory_offset_low"] + (planned["memory_offset_high"] << 32)
            memory = (planned["memory_id"], offset)
        extra = record["extra_tensor_info"]
        is_elsewhere = extra is not None and extra["location"] == "EXTERNAL"
        constant = None
        if record["data_buffer_idx"] and planned is None and not is_elsewhere:
            constant = self._constant(record["data_buffer_idx"], math.prod(shape) * item_size)
        order = tuple(record["dim_order"].tolist())
        is_dynamic = record["shape_dynamism"] != "STATIC"
        return Tensor(dtype, shape, order, is_dynamic, constant, memory)

    def _constant(self, index: int, size: int) -> Blob:
        record = self._record
        if record["constant_buffer"]:
            buffer = _item(record["constant_buffer"], index, "buffer")
            whole = self._blob(buffer.places.get("storage", 0), len(buffer["storage"]))
            offset = 0
        elif record["constant_segment"] is not None:
            where = record["constant_segment"]
            whole = _item(self._segments, where["segment_index"], "segment")
            offset = int(_item(where["offsets"], index, "constant"))
        else:
            raise FlatbufferError("has no constants, but tensors that are")
        if offset + size > len(whole.data):
            raise FlatbufferError("ends before its data")
        return self._blob(whole.start + offset, size)

    def _delegate(self, record: Record) -> Delegate:
        where = record["processed"]
        if where is None:
            raise FlatbufferError("has a delegate without data")
        if where["location"] == "INLINE":
            inline = _item(self._record["backend_delegate_data"], where["index"], "delegate")
            payload = self._blob(inline.places.get("data", 0), len(inline["data"]))
        else:
            payload = _item(self._segments, where["index"], "segment")
        specs = {spec["key"]: spec["value"].tobytes() for spec in record["compile_specs"]}
        return Delegate(record["id"], payload, specs)


_ITEM_SIZES = dict(_DTYPES.values())
_NUMBERS = {"Int": "int_val", "Bool": "bool_val", "Double": "double_val"}
_LISTS: dict[str, Literal["int", "double", "bool", "tensor", "optional_tensor"]] = {
    "IntList": "int", "DoubleList": "double", "BoolList": "bool", "TensorList": "tensor",
    "OptionalTensorList": "optional_tensor",
}  # fmt: skip


def _instruction(
    record: Record | None,
    values: Sequence[Value],
    operators: Sequence[str],
    delegates: Sequence[Delegate],
    unwritten: set[int],
) -> Instruction:
    if record is None:
        raise FlatbufferError("has an empty instruction")
    if record.type == "MoveCall":
        arguments = _indices((record["move_from"], record["move_to"]), values)
        return Instruction("move", "move", arguments, arguments[:1], arguments[1:], None)
    if record.type in ("JumpFalseCall", "FreeCall"):
        kind: Literal["jump", "free"] = "jump" if record.type == "JumpFalseCall" else "free"
        index = record["cond_value_index" if kind == "jump" else "value_index"]
        arguments = _indices((index,), values)
        return Instruction(kind, kind, arguments, arguments, (), None)
    arguments = _indices(record["args"], values)
    used = dict.fromkeys(one for index in arguments for one in _leaves(index, values))
    reads = tuple(index for index in used if index not in unwritten)
    writes = tuple(index for index in used if index in unwritten)
    if record.type == "KernelCall":
        name = _item(operators, record["op_index"], "operator")
        return Instruction("kernel", name, arguments, reads, writes, None)
    number = record["delegate_index"]
    backend = _item(delegates, number, "delegate").backend
    return Instruction("delegate", backend, arguments, reads, writes, number)


def _leaves(index: int, values: Sequence[Value]) -> tuple[int, ...]:
    """A value, or the tensors in it if it is a list of them."""
    value = values[index]
    if isinstance(value, List) and value.kind in ("tensor", "optional_tensor"):
        return _indices((item for item in value.items if item >= 0), values)
    return (index,)


def _indices(found: Any, values: Sequence[Value]) -> tuple[int, ...]:
    indices = tuple(int(index) for index in found)
    for index in indices:
        _item(values, index, "value")
    return indices


def _item(items: Sequence[Any], index: int, what: str) -> Any:
    if not 0 <= index < len(items):
        raise FlatbufferError(f"refers to {what} {index} of {len(items)}")
    return items[index]
