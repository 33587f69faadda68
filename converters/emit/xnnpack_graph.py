"""XNNPACK's graph as ExecuTorch stores it: values, the nodes between them, constants by name."""

from __future__ import annotations

import functools
import hashlib
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formats.flatbuffer import Schema
from ..formats.flatbuffer_writer import write_flatbuffer
from ..formats.pte import vendor_schema
from ..lowering.program import NotCovered, Tensor

NO_VALUE = 2**32 - 1  # XNN_INVALID_VALUE_ID: the id of an operand that is left out
_EXTERNAL_INPUT, _EXTERNAL_OUTPUT = 1, 2  # XNN_VALUE_FLAG_*
_BY_NAME = 2**64 - 1  # the offset of a constant that is in the named data
_HIGHEST_RANK = 6  # XNN_MAX_TENSOR_DIMS
_ALIGNMENT = 16  # bytes
_HEADER = struct.Struct("<4x4sHIIIQ")

Bounds = tuple[float | None, float | None]


class Graph:
    """Grows node by node; values go by their ids.

    A call of the delegate takes the inputs, then the outputs. `debug_handle` is what the runtime's
    messages call the nodes that are added next.
    """

    def __init__(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        self.constants: dict[str, memoryview] = {}
        self.debug_handle = 0
        self._nodes: list[dict[str, Any]] = []
        self._values: list[dict[str, Any]] = []
        self._ids: dict[Tensor, int] = {}
        self._constant_ids: dict[tuple[str, tuple[int, ...], bool], int] = {}
        self._places: dict[str, int] = {}  # of constants in the graph's table
        self._input_ids = [self._external(tensor, _EXTERNAL_INPUT) for tensor in inputs]
        self._output_ids = [self._external(tensor, _EXTERNAL_OUTPUT) for tensor in outputs]
        self._ids.update(zip(inputs, self._input_ids, strict=True))
        self._copies: list[tuple[Tensor, int]] = []
        for tensor, identity in zip(outputs, self._output_ids, strict=True):
            if tensor.data is None and tensor not in self._ids:
                self._ids[tensor] = identity
            else:  # an input, a constant, or an output once more
                self._copies.append((tensor, identity))

    def tensor(self, tensor: Tensor) -> int:
        """The value of a program's tensor."""
        if tensor not in self._ids:
            check(tensor)
            data = tensor.data
            self._ids[tensor] = self.value(tensor.shape) if data is None else self.constant(data)
        return self._ids[tensor]

    def weight(self, tensor: Tensor) -> int:
        """The value of a filter or bias, which the runtime repacks when it loads the file."""
        check(tensor)
        if tensor.data is None:
            return self.tensor(tensor)
        return self.constant(tensor.data, packed=True)

    def constant(self, data: NDArray[np.float32], *, packed: bool = False) -> int:
        """A value that stands in the file; equal ones are one.

        Not, though, where one is `packed`, a filter or bias: once XNNPACK has packed a value its
        numbers are gone, and an operator that reads them as they are crashes.
        """
        data = np.asarray(data, order="C")
        name = hashlib.sha256(data.data).hexdigest()
        key = name, data.shape, packed
        if key not in self._constant_ids:
            self.constants.setdefault(name, data.data.cast("B"))
            place = self._places.setdefault(name, len(self._places) + 1)
            self._constant_ids[key] = self.value(data.shape, constant_buffer_idx=place)
        return self._constant_ids[key]

    def bind(self, tensor: Tensor, value: int) -> None:
        """Makes a program's tensor one that is there already."""
        check(tensor)
        if tensor in self._ids:  # an output, which is a value of its own
            self.node("Copy", input_id=value, output_id=self._ids[tensor])
        self._ids.setdefault(tensor, value)

    def shape(self, value: int) -> tuple[int, ...]:
        _, fields = self._values[value]["xvalue_union"]
        return tuple(fields["dims"])

    def value(self, shape: Sequence[int], **fields: int) -> int:
        """A new value, by default one that a node computes."""
        identity = len(self._values)
        base = {
            "datatype": "xnn_datatype_fp32",
            "num_dims": len(shape),
            "dims": shape,
            "external_id": NO_VALUE,
            "id_out": identity,
        }
        self._values.append({"xvalue_union": ("XNNTensorValue", base | fields)})
        return identity

    def node(self, name: str, activation: Bounds | None = None, /, **fields: Any) -> None:
        """Adds a node of a type of the schema, XNN left out; `activation` clamps its result."""
        entry = {"xnode_union": (f"XNN{name}", fields), "debug_handle": self.debug_handle}
        if activation is not None:
            low, high = activation
            entry["output_min_max"] = {
                "output_min": -math.inf if low is None else low,
                "output_max": math.inf if high is None else high,
            }
        self._nodes.append(entry)

    def finish(self) -> bytes:
        """The payload: a header and a FlatBuffer, each filled up to a multiple of 16 bytes."""
        for tensor, identity in self._copies:
            self.node("Copy", input_id=self.tensor(tensor), output_id=identity)
        constants = [
            {"offset": _BY_NAME, "size": data.nbytes, "named_key": name}
            for name, data in self.constants.items()
        ]
        fields = {
            "version": "0",
            "xnodes": self._nodes,
            "xvalues": self._values,
            "num_externs": len(self._input_ids) + len(self._output_ids),
            "input_ids": self._input_ids,
            "output_ids": self._output_ids,
            "constant_data": [{}, *constants],  # the first stands for none
        }
        flatbuffer = write_flatbuffer(_schema(), "XNNGraph", fields)
        start, size = (_padded(n) for n in (_HEADER.size, len(flatbuffer)))
        header = _HEADER.pack(b"XH00", _HEADER.size, start, len(flatbuffer), start + size, 0)
        return header.ljust(start, b"\0") + flatbuffer.ljust(size, b"\0")

    def _external(self, tensor: Tensor, flag: int) -> int:
        check(tensor)
        return self.value(tensor.shape, external_id=len(self._values), flags=flag)


def check(tensor: Tensor) -> None:
    """Raises NotCovered for what XNNPACK's delegate takes in no place."""
    if tensor.dtype != "float32":
        raise NotCovered(f"XNNPACK's delegate takes float32 only, not {tensor.dtype}")
    if len(tensor.shape) > _HIGHEST_RANK:
        raise NotCovered(f"XNNPACK's arrays have at most {_HIGHEST_RANK} axes")
    if 0 in tensor.shape:
        raise NotCovered("XNNPACK has no empty arrays")


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


@functools.cache
def _schema() -> Schema:
    return vendor_schema("backends/xnnpack/serialization/schema.fbs")
