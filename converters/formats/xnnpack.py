"""What XNNPACK's delegate in a `.pte` computes: the graph that is stored in its payload.

The payload is a header, a FlatBuffer (`schema.fbs` of executorch's XNNPACK backend) and perhaps
constants; most constants stand in the program's named data, shared by all delegates.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ArtifactError
from .flatbuffer import FlatbufferError, Record, Schema, read_flatbuffer
from .pte import Blob, Delegate, PteProgram, vendor_schema

BACKEND = "XnnpackBackend"
_NONE = 2**32 - 1  # the id of an operand that is left out
_STORED_BY_NAME = 2**64 - 1  # the offset of a constant that is in the program's named data


@dataclass(frozen=True)
class XnnTensor:
    """A value; `shape` is XNNPACK's, images are (B, H, W, C)."""

    dtype: str  # "fp32", "qcint8"
    shape: tuple[int, ...]
    constant: Blob | None
    quantisation: Mapping[str, Any] | None  # the schema's parameters, with "type"


@dataclass(frozen=True)
class XnnNode:
    """A node, with what it reads and writes by name: {"input1": 3, "filter": 4, "output": 5}.

    `places` has the positions in the file, in bytes, of those attributes that are stored (a zero
    is not), of a list its first item's.
    """

    type: str  # "Conv2d"
    operands: Mapping[str, int]
    results: Mapping[str, int]
    attributes: Mapping[str, int | float | tuple[int, ...]]
    places: Mapping[str, int]


@dataclass(frozen=True)
class XnnGraph:
    """Nodes in order of execution; `inputs` and `outputs` are ids of `tensors`.

    A delegate call's arguments are the inputs, then the outputs.
    """

    nodes: tuple[XnnNode, ...]
    tensors: Mapping[int, XnnTensor]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_xnnpack(program: PteProgram, delegate: Delegate) -> XnnGraph:
    """The graph of a delegate whose backend is XNNPACK.

    Raises ArtifactError, naming the program's file, where the payload is damaged.
    """
    try:
        return _graph(delegate.payload, program.named_data)
    except FlatbufferError as error:
        raise ArtifactError(
            f"{program.path}: is not a sound .pte file: an XNNPACK delegate {error}"
        ) from None


def weight_bytes(program: PteProgram) -> dict[str, int]:
    """Bytes of all constants of a program by type, those of XNNPACK's delegates among them.

    What other backends keep in their payloads counts by the backend's name. Constants that
    several delegates share count once.
    """
    counts = Counter(program.weight_bytes())
    shared: dict[int, tuple[str, int]] = {}
    for delegate in (one for method in program.methods for one in method.delegates):
        if delegate.backend != BACKEND:
            counts[delegate.backend] += len(delegate.payload.data)
            continue
        for tensor in read_xnnpack(program, delegate).tensors.values():
            if tensor.constant is not None:
                dtype = _NUMPY_NAMES.get(tensor.dtype, tensor.dtype)
                shared[tensor.constant.start] = (dtype, len(tensor.constant.data))
    for dtype, size in shared.values():
        counts[dtype] += size
    return dict(counts.most_common())


_NUMPY_NAMES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


@functools.cache
def _schema() -> Schema:
    return vendor_schema("backends/xnnpack/serialization/schema.fbs")


def _graph(payload: Blob, named_data: Mapping[str, Blob]) -> XnnGraph:
    data = payload.data
    start, size = 0, len(data)
    constants = Blob(payload.start, data[:0])
    if data[4:8].tobytes() == b"XH00":
        start, size = (int.from_bytes(data[i : i + 4], "little") for i in (10, 14))
        offset = int.from_bytes(data[18:22], "little")
        length = int.from_bytes(data[22:30], "little")
        constants = _part(payload, offset, length)
    flatbuffer = _part(payload, start, size)
    record = read_flatbuffer(_schema(), "XNNGraph", flatbuffer.data)
    blobs = tuple(_constant(entry, constants, named_data) for entry in record["constant_data"])
    values = [_base(entry["xvalue_union"]) for entry in record["xvalues"]]
    tensors = {
        base["id_out"]: _tensor(base, entry["xvalue_union"], blobs)
        for base, entry in zip(values, record["xvalues"], strict=True)
    }
    nodes = tuple(_node(entry, flatbuffer.start) for entry in record["xnodes"])
    places = {base["id_out"]: base["external_id"] for base in values}  # among a call's arguments
    inputs, outputs = (
        tuple(sorted(record[name].tolist(), key=lambda number: places.get(number, 0)))
        for name in ("input_ids", "output_ids")
    )
    used = {i for node in nodes for ids in (node.operands, node.results) for i in ids.values()}
    for number in used.union(inputs, outputs):
        if number not in tensors:
            raise FlatbufferError(f"refers to value {number}, which is not there")
    return XnnGraph(nodes, tensors, inputs, outputs)


def _part(payload: Blob, offset: int, size: int) -> Blob:
    if offset + size > len(payload.data):
        raise FlatbufferError("ends before its data")
    return Blob(payload.start + offset, payload.data[offset : offset + size])


def _constant(record: Record, inline: Blob, named_data: Mapping[str, Blob]) -> Blob:
    if record["offset"] != _STORED_BY_NAME:
        return _part(inline, record["offset"], record["size"])
    if record["named_key"] not in named_data:
        raise FlatbufferError("refers to named data that is not there")
    return _part(named_data[record["named_key"]], 0, record["size"])


def _base(record: Record | None) -> Record:
    """The table that a quantised value has in common with others."""
    if record is not None and record.type == "XNNQuantizedTensorValue":
        record = record["tensor_value"]
    if record is None:
        raise FlatbufferError("has an empty value")
    return record


def _tensor(base: Record, record: Record, constants: tuple[Blob, ...]) -> XnnTensor:
    quantisation = None
    if record is not base and record["quant_params"] is not None:
        parameters = record["quant_params"]
        quantisation = {"type": parameters.type, **parameters.fields}
    index = base["constant_buffer_idx"]
    if index >= max(len(constants), 1):
        raise FlatbufferError(f"refers to constant {index} of {len(constants)}")
    return XnnTensor(
        base["datatype"].removeprefix("xnn_datatype_"),
        tuple(base["dims"].tolist()),
        constants[index] if index else None,  # 0 stands for none
        quantisation,
    )


def _node(entry: Record, base: int) -> XnnNode:
    record = entry["xnode_union"]
    if record is None:
        raise FlatbufferError("has an empty node")
    kind = record.type.removeprefix("XNN")
    ids = {
        name.removesuffix("_id"): number
        for name, number in record.fields.items()
        if name.endswith("_id") and number != _NONE
    }
    if kind.startswith("Concatenate"):  # the table has places for five, whatever the node's count
        count = int(kind.removeprefix("Concatenate"))
        ids = {n: i for n, i in ids.items() if n in _concatenated(count) or n == "output"}
    attributes = {n: v for n, v in record.fields.items() if _is_attribute(n)}
    places = {n: base + p for n, p in record.places.items() if _is_attribute(n)}
    if entry["output_min_max"] is not None:
        attributes |= entry["output_min_max"].fields
        places |= {n: base + p for n, p in entry["output_min_max"].places.items()}
    return XnnNode(
        kind,
        {name: number for name, number in ids.items() if not name.startswith("output")},
        {name: number for name, number in ids.items() if name.startswith("output")},
        {n: v if isinstance(v, int | float) else tuple(v.tolist()) for n, v in attributes.items()},
        places,
    )


def _concatenated(count: int) -> set[str]:
    return {f"input{i + 1}" for i in range(count)}


def _is_attribute(name: str) -> bool:
    return not name.endswith("_id") and name != "num_dims"
