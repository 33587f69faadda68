"""An XNNPACK delegate's payload rewritten so that every value inside becomes an output."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executorch.backends.xnnpack.serialization import xnnpack_graph_serialize as xnnpack
from executorch.exir._serialize._flatbuffer import _flatc_compile, _flatc_decompile

_EXTERNAL_OUTPUT = 2  # XNN_VALUE_FLAG_EXTERNAL_OUTPUT
_NONE = 2**32 - 1  # XNN_INVALID_VALUE_ID
_DTYPES = {"xnn_datatype_fp32": "FLOAT", "xnn_datatype_fp16": "HALF"}


@dataclass(frozen=True)
class Node:
    """A node by its type; what it reads and writes by the ids of XNNPACK's graph."""

    kind: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]


@dataclass(frozen=True)
class ExposedDelegate:
    """The new payload. `arguments` are the ids of the call's arguments, old ones first.

    `added` are the types and shapes of the new arguments, in order; images are (B,H,W,C).
    """

    payload: bytes
    nodes: tuple[Node, ...]
    arguments: tuple[int, ...]
    inputs: int  # how many of the arguments are read
    added: tuple[tuple[str, tuple[int, ...]], ...]


def expose_delegate(payload: bytes) -> ExposedDelegate:
    """Makes outputs of all values that a node gives, but for quantised ones."""
    header = xnnpack.XNNHeader.from_bytes(payload[: xnnpack.XNNHeader.EXPECTED_LENGTH])
    start, end = header.flatbuffer_offset, header.flatbuffer_offset + header.flatbuffer_size
    constants = payload[header.constant_data_offset :][: header.constant_data_size]
    with _as_json(payload[start:end]) as (graph, compiled):
        tensors = {t["id_out"]: t for t in map(_tensor_value, graph["xvalues"])}
        computed = {i for i, tensor in tensors.items() if not tensor["constant_buffer_idx"]}
        nodes = tuple(_node(entry, computed) for entry in graph["xnodes"])
        arguments = {t["external_id"]: i for i, t in tensors.items() if t["flags"]}
        added = []
        for identity in (i for node in nodes for i in node.writes):
            tensor = tensors[identity]
            if not tensor["flags"] and tensor["datatype"] in _DTYPES:
                tensor["flags"], tensor["external_id"] = _EXTERNAL_OUTPUT, graph["num_externs"]
                arguments[graph["num_externs"]] = identity
                graph["num_externs"] += 1
                graph["output_ids"].append(identity)
                added.append((_DTYPES[tensor["datatype"]], tuple(tensor["dims"])))
        flatbuffer = compiled(graph)
    ordered = tuple(arguments[i] for i in range(len(arguments)))
    new = _payload(flatbuffer, constants)
    return ExposedDelegate(new, nodes, ordered, len(graph["input_ids"]), tuple(added))


def _tensor_value(entry: Mapping[str, Any]) -> Any:
    value = entry["xvalue_union"]
    return value.get("tensor_value", value)  # a quantised one holds the other


def _node(entry: Mapping[str, Any], computed: set[int]) -> Node:
    kind = entry["xnode_union_type"].removeprefix("XNN")
    ids = {n: i for n, i in entry["xnode_union"].items() if n.endswith("_id") and i != _NONE}
    if kind.startswith("Concatenate"):  # the table has places for five, whatever the count
        used = {f"input{i + 1}_id" for i in range(int(kind.removeprefix("Concatenate")))}
        ids = {n: i for n, i in ids.items() if n in used or n == "output_id"}
    reads = (i for n, i in ids.items() if not n.startswith("output") and i in computed)
    writes = (i for n, i in ids.items() if n.startswith("output"))
    return Node(kind, tuple(reads), tuple(writes))


@contextmanager
def _as_json(flatbuffer: bytes) -> Iterator[tuple[Any, Callable[[Any], bytes]]]:
    """XNNPACK's graph as plain data, and a function that makes a FlatBuffer of it again."""
    with tempfile.TemporaryDirectory(prefix="mvkit-xnnpack-") as folder:
        definition, binary, text = (Path(folder, f"graph.{s}") for s in ("fbs", "bin", "json"))
        definition.write_bytes(xnnpack._get_schema_bytes())
        binary.write_bytes(flatbuffer)
        _flatc_decompile(folder, str(definition), str(binary), ["--raw-binary"])

        def compiled(graph: Any) -> bytes:
            text.write_text(json.dumps(graph), encoding="utf-8")
            _flatc_compile(folder, str(definition), str(text))
            return binary.read_bytes()

        # flatc writes `inf`, which Python reads as Infinity only; flatc's reader takes that back.
        yield json.loads(re.sub(r"(:\s*-?)inf\b", r"\1Infinity", text.read_text("utf-8"))), compiled


def _payload(flatbuffer: bytes, constants: bytes) -> bytes:
    step = xnnpack.CONSTANT_TENSOR_ALIGNMENT
    start = -(-xnnpack.XNNHeader.EXPECTED_LENGTH // step) * step
    size = -(-len(flatbuffer) // step) * step
    header = xnnpack.XNNHeader(start, len(flatbuffer), start + size, len(constants)).to_bytes()
    return header.ljust(start, b"\0") + flatbuffer.ljust(size, b"\0") + constants
