"""A MIL program as immutable data: functions, blocks, operations, types and constants.

It is read from the protobuf message of a package (`MILSpec.Program`); nothing is computed and
no weight is read before somebody asks for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ...errors import ArtifactError, one_line
from .constants import Array, bits, from_blob, from_message, refuse
from .package import Package

_DTYPES = {
    1: "bool", 2: "string", 10: "fp16", 11: "fp32", 12: "fp64", 13: "bf16", 21: "int8",
    22: "int16", 23: "int32", 24: "int64", 25: "int4", 31: "uint8", 32: "uint16", 33: "uint32",
    34: "uint64", 35: "uint4", 36: "uint2", 37: "uint1", 38: "uint6", 39: "uint3",
    40: "fp8e4m3fn", 41: "fp8e5m2",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ValueType:
    """A tensor, or with an empty shape a scalar. None is a size that is known when it runs."""

    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class ListType:
    """A list of values of one type; a length of None is known when it runs."""

    element: Type
    length: int | None


@dataclass(frozen=True, slots=True)
class StateType:
    """A value that outlives a prediction."""

    wrapped: Type


@dataclass(frozen=True, slots=True)
class DictionaryType:
    """The probabilities of a classifier by its labels."""

    key: Type
    value: Type


@dataclass(frozen=True, slots=True)
class TupleType:
    """Several values as one."""

    elements: tuple[Type, ...]


Type: TypeAlias = ValueType | ListType | StateType | DictionaryType | TupleType
Content: TypeAlias = "Array | str | tuple[Content, ...]"


@dataclass(frozen=True, slots=True)
class BlobReference:
    """Where in the package's weight files a constant is stored."""

    file_name: str
    offset: int


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A constant: in the program itself, or with `blob` in a weight file."""

    type: Type
    blob: BlobReference | None
    _package: Package = field(repr=False)
    _message: Any = field(repr=False)  # MILSpec.Value

    def read(self) -> Content:
        """An array of the declared shape, a str for a scalar string, a tuple for a list.

        Sub-byte integers come as int8 or uint8 and bf16 as float32. Raises ArtifactError when
        what is stored does not fit the declared type.
        """
        try:
            return _read(self)
        except ValueError as error:
            where = f"at offset {self.blob.offset}" if self.blob else "in the program"
            raise refuse(self._package.path, where, error) from None

    @property
    def stored_bytes(self) -> int:
        """What a tensor takes in the file, by its declared type; strings and lists count 0."""
        if not isinstance(self.type, ValueType) or self.type.dtype in ("string", "fp8e4m3fn"):
            return 0
        return -(-math.prod(n or 0 for n in self.type.shape) * bits(self.type.dtype) // 8)


Argument: TypeAlias = str | Value  # a variable's name or a constant


@dataclass(frozen=True, slots=True)
class Variable:
    """A named value that an operation, a function or a block defines."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operator with its arguments; most parameters have one, variadic ones several."""

    type: str
    inputs: Mapping[str, tuple[Argument, ...]]
    outputs: tuple[Variable, ...]
    attributes: Mapping[str, Value]
    blocks: tuple[Block, ...]

    @property
    def name(self) -> str:
        """What errors and reports call it: the name of its first result."""
        return self.outputs[0].name if self.outputs else self.type


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Operations in order, and the names of the variables that they are for."""

    inputs: tuple[Variable, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    def walk(self) -> Iterator[Operation]:
        """All operations, those of inner blocks before the one that holds them."""
        for operation in self.operations:
            for block in operation.blocks:
                yield from block.walk()
            yield operation


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function of the program; most programs have one, called main."""

    name: str
    inputs: tuple[Variable, ...]
    opset: str  # CoreML5 (iOS15) to CoreML8 (iOS18)
    block: Block


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """The functions of a package's program by name."""

    functions: Mapping[str, Function]

    def operators(self, function: str) -> Counter[str]:
        """How often each operator stands in a function, inner blocks included."""
        return Counter(operation.type for operation in self.functions[function].block.walk())


def read_program(package: Package) -> Program:
    """The program of a package; ArtifactError if the model is of another kind or damaged."""
    kind = package.model.WhichOneof("Type")
    if kind != "mlProgram":
        raise ArtifactError(f"{package.path}: is a {kind or 'model without content'}, no mlProgram")
    reader = _Reader(package)
    functions = {
        name: reader.function(name, function)
        for name, function in sorted(package.model.mlProgram.functions.items())
    }
    if not functions:
        raise ArtifactError(f"{package.path}: its program has no function")
    return Program(functions)


def _read(value: Value) -> Content:
    type_, message = value.type, value._message
    if isinstance(type_, ListType):
        items = message.immediateValue.list.values
        if type_.length not in (None, len(items)):
            raise ValueError(f"{len(items)} items in a list of {type_.length}")
        return tuple(Value(type_.element, None, value._package, item).read() for item in items)
    if not isinstance(type_, ValueType):
        raise ValueError("only tensors, strings and lists can be constants")
    shape = tuple(n for n in type_.shape if n is not None)
    if len(shape) != len(type_.shape):
        raise ValueError("its shape is not known")
    if value.blob is not None:
        stored = value._package.blob(value.blob.file_name, value.blob.offset)
        return from_blob(stored, type_.dtype, shape)
    array = from_message(message.immediateValue.tensor, type_.dtype, shape)
    return str(array[()]) if type_.dtype == "string" and not shape else array


class _Reader:
    """Messages to data. Depth needs no limit here: protobuf refuses what nests too deeply."""

    def __init__(self, package: Package) -> None:
        self._package = package

    def function(self, name: str, message: Any) -> Function:
        blocks = message.block_specializations
        if message.opset not in blocks:
            raise self._damaged(f"function {one_line(name, 60)} has no block for its opset")
        return Function(
            name, self._variables(message.inputs), message.opset, self._block(blocks[message.opset])
        )

    def _block(self, message: Any) -> Block:
        return Block(
            inputs=self._variables(message.inputs),
            operations=tuple(self._operation(operation) for operation in message.operations),
            outputs=tuple(message.outputs),
        )

    def _operation(self, message: Any) -> Operation:
        return Operation(
            type=message.type,
            inputs={
                name: tuple(
                    binding.name
                    if binding.WhichOneof("binding") == "name"
                    else self._value(binding.value)
                    for binding in argument.arguments
                )
                for name, argument in sorted(message.inputs.items())
            },
            outputs=self._variables(message.outputs),
            attributes={
                name: self._value(value) for name, value in sorted(message.attributes.items())
            },
            blocks=tuple(self._block(block) for block in message.blocks),
        )

    def _variables(self, messages: Any) -> tuple[Variable, ...]:
        return tuple(Variable(message.name, self._type(message.type)) for message in messages)

    def _value(self, message: Any) -> Value:
        blob = None
        if message.WhichOneof("value") == "blobFileValue":
            stored = message.blobFileValue
            blob = BlobReference(stored.fileName, stored.offset)
        return Value(self._type(message.type), blob, self._package, message)

    def _type(self, message: Any) -> Type:
        kind = message.WhichOneof("type")
        if kind == "tensorType":
            tensor = message.tensorType
            if tensor.dataType not in _DTYPES:
                raise self._damaged(f"a value has the unknown type {tensor.dataType}")
            shape = tuple(self._size(dimension) for dimension in tensor.dimensions)
            return ValueType(_DTYPES[tensor.dataType], shape)
        if kind == "listType":
            return ListType(self._type(message.listType.type), self._size(message.listType.length))
        if kind == "stateType":
            return StateType(self._type(message.stateType.wrappedType))
        if kind == "dictionaryType":
            dictionary = message.dictionaryType
            return DictionaryType(self._type(dictionary.keyType), self._type(dictionary.valueType))
        if kind == "tupleType":
            return TupleType(tuple(self._type(element) for element in message.tupleType.types))
        raise self._damaged("a value has no type")

    def _size(self, message: Any) -> int | None:
        if message.WhichOneof("dimension") == "constant":
            return message.constant.size
        if message.unknown.variadic:
            raise self._damaged("a value has no fixed rank")
        return None

    def _damaged(self, what: str) -> ArtifactError:
        return ArtifactError(f"{self._package.path}: its program is damaged: {what}")
