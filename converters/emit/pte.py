"""A program as a whole ExecuTorch program: one method, and in it one call of XNNPACK's delegate.

The file is laid out as executorch's own serialiser does it: a FlatBuffer (`program.fbs`) with a
header behind its first eight bytes, then segments: an empty one for constants outside of delegates,
the delegate's payload, and that one's constants, by name.
"""

from __future__ import annotations

import functools
import json
import math
import struct
from collections.abc import Sequence
from typing import Any

from ..formats.flatbuffer import Schema
from ..formats.flatbuffer_writer import write_flatbuffer
from ..formats.pte import vendor_schema
from ..formats.xnnpack import BACKEND
from ..lowering.program import Program, Tensor
from .xnnpack import Payload, serialise

_SEGMENT_ALIGNMENT = 128  # bytes
_TENSOR_ALIGNMENT = 16  # bytes
_READ_BEYOND = 64  # bytes behind its inputs that XNNPACK may read
_HEADER = struct.Struct("<4sIQQQ")


def emit(program: Program) -> bytes:
    """The bytes of a .pte whose method `forward` has the program's inputs and outputs, in order.

    They are contiguous tensors with the shapes that the program says. Raises NotCovered where
    XNNPACK's delegate cannot do what the program says.
    """
    payload = serialise(program)
    segments: list[bytes | memoryview] = [b"", payload.data, *payload.constants.values()]
    offsets = _offsets([len(segment) for segment in segments], _SEGMENT_ALIGNMENT)
    named = enumerate(payload.constants, start=2)
    fields = {
        "execution_plan": [_plan(program, payload)],
        "backend_delegate_data": [],  # executorch's own reader wants the list, empty as it is
        "segments": [
            {"offset": offset, "size": len(segment)}
            for offset, segment in zip(offsets, segments, strict=True)
        ],
        "constant_segment": {"segment_index": 0, "offsets": [0]},  # the first stands for none
        "named_data": [{"key": name, "segment_index": index} for index, name in named],
    }
    flatbuffer = write_flatbuffer(_schema(), "Program", fields)
    program_size = len(flatbuffer) + _HEADER.size
    start = -(-program_size // _SEGMENT_ALIGNMENT) * _SEGMENT_ALIGNMENT
    size = offsets[-1] + len(segments[-1])
    root = int.from_bytes(flatbuffer[:4], "little") + _HEADER.size
    header = _HEADER.pack(b"eh00", _HEADER.size, program_size, start, size)
    parts: list[bytes | memoryview] = [
        root.to_bytes(4, "little"),
        flatbuffer[4:8],
        header,
        flatbuffer[8:],
    ]
    written = program_size
    for offset, segment in zip(offsets, segments, strict=True):
        parts += [bytes(start + offset - written), segment]
        written = start + offset + len(segment)
    return b"".join(parts)


def _plan(program: Program, payload: Payload) -> dict[str, Any]:
    tensors = [*program.inputs, *program.outputs.values()]
    sizes = [4 * math.prod(tensor.shape) for tensor in tensors]
    offsets = _offsets(sizes, _TENSOR_ALIGNMENT)
    values = [_value(*one) for one in zip(tensors, offsets, strict=True)]
    inputs = range(len(program.inputs))
    outputs = range(len(inputs), len(values))
    places = {tensor: index for index, tensor in enumerate(program.inputs)}
    call = {"delegate_index": 0, "args": [*(places[one] for one in payload.inputs), *outputs]}
    return {
        "name": "forward",
        "container_meta_type": _container(len(inputs), len(outputs)),
        "values": values,
        "inputs": inputs,
        "outputs": outputs,
        "chains": [
            {"inputs": [], "outputs": [], "instructions": [{"instr_args": ("DelegateCall", call)}]}
        ],
        "operators": [],
        "delegates": [
            {
                "id": BACKEND,
                "processed": {"location": "SEGMENT", "index": 1},
                "compile_specs": [],
            }
        ],
        "non_const_buffer_sizes": [0, offsets[-1] + sizes[-1] + _READ_BEYOND],
    }


def _value(tensor: Tensor, offset: int) -> dict[str, Any]:
    """A float32 tensor in the one planned memory, which has number 1."""
    fields = {
        "scalar_type": "FLOAT",
        "sizes": tensor.shape,
        "dim_order": range(len(tensor.shape)),
        "allocation_info": {
            "memory_id": 1,
            "memory_offset_low": offset & 0xFFFFFFFF,
            "memory_offset_high": offset >> 32,
        },
    }
    return {"val": ("Tensor", fields)}


def _container(inputs: int, outputs: int) -> dict[str, str]:
    """How arguments and results are nested, as torch.utils._pytree writes it: not at all."""
    leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
    no_keywords = {"type": "builtins.dict", "context": "[]", "children_spec": []}

    def nested(*children: Any) -> dict[str, Any]:
        return {"type": "builtins.tuple", "context": "null", "children_spec": children}

    arguments, results = nested(*[leaf] * inputs), nested(*[leaf] * outputs)
    return {
        "encoded_inp_str": json.dumps([1, nested(arguments, no_keywords)]),
        "encoded_out_str": json.dumps([1, results]),
    }


@functools.cache
def _schema() -> Schema:
    return vendor_schema("schema/scalar_type.fbs", "schema/program.fbs")


def _offsets(sizes: Sequence[int], alignment: int) -> list[int]:
    """Where things of these sizes in bytes begin, one behind the other."""
    offsets, end = [], 0
    for size in sizes:
        offsets.append(-(-end // alignment) * alignment)
        end = offsets[-1] + size
    return offsets
