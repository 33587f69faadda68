"""A .tflite file in the making: tensors, operators and weights, then the bytes.

The format is the schema that ships with ai-edge-litert (`schema_py_generated`), its tables packed
by flatbuffers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from ..lowering.program import NotCovered, Tensor
from .tflite_versions import operator_version

_IDENTIFIER = b"TFL3"
_VERSION = 3  # of the schema
_DESCRIPTION = "mobilevit-kit"
_SIGNATURE = "serving_default"  # as converters call the only signature of a file
_ALIGNMENT = 16  # bytes; the schema asks it of the data of constants
_LARGEST = 2**31 - 2**24  # bytes of constants; offsets within the file have 31 bits
_LARGEST_RANK = 6  # XNN_MAX_TENSOR_DIMS; the runtime refuses some files with more
_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
    "uint8": schema.TensorType.UINT8,
}


class TfliteFile:
    """One subgraph. Tensors go by their index in it; their names are made unique.

    Raises NotCovered for tensors of other dtypes than float32, int32 and uint8, of more axes than
    XNNPACK takes, and for empty ones.
    """

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # the first is that of all computed tensors
        self._codes: dict[tuple[int, int], int] = {}
        self._names: dict[str, int] = {}  # with how often each was asked for
        self._indices: dict[Tensor, int] = {}
        self._parameters: dict[tuple[Any, ...], int] = {}
        self._alike: dict[tuple[int, bytes], list[int]] = {}  # indices of buffers
        self._bytes = 0

    def tensor(self, tensor: Tensor) -> int:
        """The index of a program's tensor, which is added when it is first asked for."""
        if tensor not in self._indices:
            if tensor.data is None:
                index = self.value(tensor.name, tensor.shape, tensor.dtype)
            else:
                index = self._constant(tensor.name, tensor.data)
            self._indices[tensor] = index
        return self._indices[tensor]

    def value(self, name: str, shape: Sequence[int], dtype: str = "float32") -> int:
        """A new tensor that an operator computes."""
        return self._add(name, shape, dtype, 0)

    def parameter(self, name: str, numbers: Any, dtype: str = "int32") -> int:
        """A constant of the emitter's own: axes, a shape, a bound. Equal ones are one tensor."""
        array = np.array(numbers, dtype)
        key = (name, dtype, array.shape, array.tobytes())
        if key not in self._parameters:
            self._parameters[key] = self._constant(name, array)
        return self._parameters[key]

    def shape(self, index: int) -> tuple[int, ...]:
        return tuple(self._tensors[index].shape.tolist())

    def operator(self, kind: str, inputs: Sequence[int], output: int, options: Any = None) -> None:
        """Appends a builtin operator; `options` is the schema's object of its options."""
        version = operator_version(kind, [self.shape(i) for i in inputs], options)
        code = (getattr(schema.BuiltinOperator, kind), version)
        made = schema.OperatorT(
            opcodeIndex=self._codes.setdefault(code, len(self._codes)),
            inputs=np.array(inputs, np.int32),
            outputs=np.array([output], np.int32),
        )
        if options is not None:
            table = type(options).__name__.removesuffix("T")
            made.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            made.builtinOptions = options
        self._operators.append(made)

    def finish(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
        """The file, with its inputs and outputs in this order and under these names."""
        graph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=np.array(list(inputs.values()), np.int32),
            outputs=np.array(list(outputs.values()), np.int32),
            operators=self._operators,
            name="main",
        )
        signature = schema.SignatureDefT(
            inputs=[schema.TensorMapT(name, index) for name, index in inputs.items()],
            outputs=[schema.TensorMapT(name, index) for name, index in outputs.items()],
            signatureKey=_SIGNATURE,
        )
        model = schema.ModelT(
            version=_VERSION,
            operatorCodes=[_operator_code(*code) for code in self._codes],
            subgraphs=[graph],
            description=_DESCRIPTION,
            buffers=self._buffers,
            signatureDefs=[signature],
        )
        # Of about the right size at once: a builder that grows copies all that it holds.
        tables = 512 * (len(self._tensors) + len(self._operators) + 8)
        builder = flatbuffers.Builder(self._bytes + tables)
        builder.Finish(model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def _constant(self, name: str, array: NDArray[Any]) -> int:
        return self._add(name, array.shape, array.dtype.name, self._buffer(array))

    def _add(self, name: str, shape: Sequence[int], dtype: str, buffer: int) -> int:
        if dtype not in _TYPES:
            raise NotCovered(f"{name} is of {dtype}")
        if len(shape) > _LARGEST_RANK:
            raise NotCovered(f"{name} has rank {len(shape)}, more than {_LARGEST_RANK}")
        if 0 in shape:
            raise NotCovered(f"{name} is empty")  # a constant without bytes counts as computed
        earlier = self._names.get(name, 0)
        self._names[name] = earlier + 1
        tensor = schema.TensorT(
            shape=np.array(shape, np.int32),
            type=_TYPES[dtype],
            buffer=buffer,
            name=f"{name};{earlier}" if earlier else name,
            hasRank=True,
        )
        if dtype == "uint8":
            # Quantised numbers that stand for themselves: XNNPACK takes no others of 8 bits.
            tensor.quantization = schema.QuantizationParametersT(scale=[1.0], zeroPoint=[0])
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _buffer(self, array: NDArray[Any]) -> int:
        """The index of the buffer with these bytes; equal constants share one."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        # Equal constants are of one size and begin alike; few others do.
        alike = self._alike.setdefault((data.nbytes, data[:64].tobytes()), [])
        for index in alike:
            if np.array_equal(self._buffers[index].data, data):
                return index
        self._bytes += data.nbytes + _ALIGNMENT
        if self._bytes > _LARGEST:
            raise NotCovered("its weights are larger than 2 GiB")
        self._buffers.append(_Stored(data))
        alike.append(len(self._buffers) - 1)
        return alike[-1]


@dataclass(frozen=True)
class _Stored:
    """In the place of the schema's BufferT, whose own Pack does not align."""

    data: NDArray[np.uint8]

    def Pack(self, builder: Any) -> int:
        builder.Prep(_ALIGNMENT, self.data.nbytes)
        data = builder.CreateNumpyVector(self.data)
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


def _operator_code(builtin: int, version: int) -> Any:
    oldest = min(builtin, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    return schema.OperatorCodeT(deprecatedBuiltinCode=oldest, builtinCode=builtin, version=version)
