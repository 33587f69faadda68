"""The graph of a CoreML package (`.mlpackage`): its MIL program."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import ArtifactError, one_line
from ..runtimes.mil.package import open_package
from ..runtimes.mil.program import (
    Argument,
    Block,
    Function,
    ListType,
    Operation,
    StateType,
    Type,
    Value,
    ValueType,
    read_program,
)
from .graph import Graph, Node, Tensor

_NUMPY_NAMES = {"fp64": "float64", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_MAIN = "main"
_MOST_SHOWN = 16  # whole numbers in a constant that is shown as an attribute


def read_coreml(path: Path) -> Graph:
    """The main function's operators, then those of other functions.

    Scalars and lists such as strides are attributes of their readers, other constants are tensors.
    There are no partitions in the file: CoreML decides on the device what runs where.

    Raises ArtifactError for what is no ML program or damaged, MissingExtraError without
    coremltools, whose package holds the schema.
    """
    program = read_program(open_package(path))
    functions = dict(program.functions)
    main = functions.pop(_MAIN, None) or functions.pop(next(iter(functions)))
    reader = _Reader(path)
    inputs, outputs = reader.function(main, "")
    for function in functions.values():
        reader.function(function, function.name)
    return Graph("CoreML", tuple(reader.nodes), tuple(reader.tensors), inputs, outputs)


class _Reader:
    def __init__(self, path: Path) -> None:
        self.nodes: list[Node] = []
        self.tensors: list[Tensor] = []
        self._path = path
        self._first_of: dict[object, int] = {}  # constants, by where they are stored

    def function(self, function: Function, scope: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Adds a function's operators; gives its inputs and outputs."""
        names: dict[str, int | Value] = {}
        inputs = tuple(self._define(one.name, one.type, names) for one in function.inputs)
        return inputs, self._block(function.block, scope, names)

    def _block(self, block: Block, scope: str, names: dict[str, int | Value]) -> tuple[int, ...]:
        for variable in block.inputs:
            self._define(variable.name, variable.type, names)
        for operation in block.operations:
            if operation.type == "const":
                names[operation.name] = self._content(operation)
            else:
                self._operation(operation, scope, names)
        return tuple(self._tensor(self._look_up(name, names), name) for name in block.outputs)

    def _operation(self, operation: Operation, scope: str, names: dict[str, int | Value]) -> None:
        read: list[int] = []
        attributes = {}
        for parameter, name, found in self._arguments(operation, names):
            if isinstance(found, Value) and (shown := _shown(found)) is not None:
                attributes[parameter] = shown
            else:
                read.append(self._tensor(found, name))
        for number, block in enumerate(operation.blocks):  # inner blocks see the outer names
            read += self._block(block, f"{operation.name}, block {number}", dict(names))
        for name, value in operation.attributes.items():
            if name != "name" and (shown := _shown(value)) is not None:
                attributes[name] = shown
        outputs = tuple(self._define(one.name, one.type, names) for one in operation.outputs)
        self.nodes.append(Node(operation.type, tuple(read), outputs, attributes, None, scope))

    def _arguments(
        self, operation: Operation, names: Mapping[str, int | Value]
    ) -> Iterator[tuple[str, str, int | Value]]:
        """Parameter, the argument's name and what it is; operands in attributes, as of iOS16."""
        given: list[tuple[str, tuple[Argument, ...]]] = list(operation.inputs.items())
        if operation.type.startswith("constexpr_"):
            given += [(name, (value,)) for name, value in operation.attributes.items()]
        for parameter, arguments in given:
            for argument in arguments:
                if isinstance(argument, Value):
                    yield parameter, f"{operation.name}.{parameter}", argument
                else:
                    yield parameter, argument, self._look_up(argument, names)

    def _look_up(self, name: str, names: Mapping[str, int | Value]) -> int | Value:
        if name not in names:
            shown = one_line(name, 60)
            raise ArtifactError(f"{self._path}: its program is damaged: {shown} is not defined")
        return names[name]

    def _content(self, operation: Operation) -> Value:
        if "val" not in operation.attributes:
            shown = one_line(operation.name, 60)
            raise ArtifactError(f"{self._path}: its program is damaged: {shown} has no value")
        return operation.attributes["val"]

    def _define(self, name: str, type_: Type, names: dict[str, int | Value]) -> int:
        self.tensors.append(Tensor(name, *_kind(type_)))
        names[name] = len(self.tensors) - 1
        return len(self.tensors) - 1

    def _tensor(self, found: int | Value, name: str) -> int:
        """The index of a tensor; a constant becomes one when it is first read."""
        if not isinstance(found, Value):
            return found
        key = found if found.blob is None else (found.blob.file_name, found.blob.offset)
        if key not in self._first_of:
            self._first_of[key] = len(self.tensors)
            self.tensors.append(Tensor(name, *_kind(found.type), constant=True))
        return self._first_of[key]


def _kind(type_: Type) -> tuple[str, tuple[int | None, ...] | None]:
    if isinstance(type_, ValueType):
        return _NUMPY_NAMES.get(type_.dtype, type_.dtype), type_.shape
    if isinstance(type_, StateType):
        return _kind(type_.wrapped)
    return ("list" if isinstance(type_, ListType) else "dictionary"), None


def _shown(value: Value) -> str | None:
    """A parameter (a scalar, or a few whole numbers) as text; None for weights."""
    type_ = value.type
    if value.blob is not None or not isinstance(type_, ValueType):
        return None
    if type_.shape and type_.dtype.startswith(("fp", "bf")):
        return None
    if math.prod(n or 0 for n in type_.shape) > _MOST_SHOWN:
        return None
    content = value.read()
    return one_line(content if isinstance(content, str) else content.tolist(), 120)  # type: ignore[union-attr]
