"""A MIL function as the twin check sees it: operators without constants and casts.

An argument is the constant that it stands for, or the variable that was there before it was cast
from one float type to the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

from ..runtimes.mil.program import Block, Function, Operation, Type, Value, ValueType

_FLOATS = ("fp16", "fp32")
Resolved = str | Value
Reading = tuple[str, int, str]  # parameter, place among its arguments, variable


@dataclass(frozen=True, eq=False)
class Node:
    """An operator with its arguments resolved."""

    operation: Operation
    arguments: Mapping[str, tuple[Resolved, ...]]

    @property
    def type(self) -> str:
        return self.operation.type

    @cached_property
    def readings(self) -> frozenset[Reading]:
        """The variables among the arguments."""
        return frozenset(
            (parameter, place, argument)
            for parameter, arguments in self.arguments.items()
            for place, argument in enumerate(arguments)
            if isinstance(argument, str)
        )

    @cached_property
    def variables(self) -> Set[str]:
        return {name for _, _, name in self.readings}

    def __str__(self) -> str:
        return f"{self.type} {self.operation.name}"


class Graph:
    """The operators of a function, by block."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self._types: dict[str, Type] = {one.name: one.type for one in function.inputs}
        self._sources: dict[str, Operation] = {}
        self._index(function.block)

    def _index(self, block: Block) -> None:
        self._types.update((one.name, one.type) for one in block.inputs)
        for operation in block.operations:
            for inner in operation.blocks:
                self._index(inner)
            for output in operation.outputs:
                self._types[output.name] = output.type
                self._sources[output.name] = operation

    def type_of(self, variable: str) -> Type | None:
        return self._types.get(variable)

    def nodes(self, block: Block) -> list[Node]:
        """The operators of a block in order, constants and casts between floats left out."""
        return [
            Node(
                operation,
                {
                    parameter: tuple(self.resolve(argument) for argument in arguments)
                    for parameter, arguments in operation.inputs.items()
                },
            )
            for operation in block.operations
            if operation.type != "const" and not self._changes_precision(operation)
        ]

    def resolve(self, argument: Resolved) -> Resolved:
        """A constant, or the variable that `argument` was before it was cast."""
        while isinstance(argument, str) and argument in self._sources:
            source = self._sources[argument]
            if source.type == "const" and "val" in source.attributes:
                return source.attributes["val"]
            if not self._changes_precision(source):
                break
            (argument,) = source.inputs["x"]
        return argument

    def _changes_precision(self, operation: Operation) -> bool:
        if operation.type != "cast" or len(operation.inputs.get("x", ())) != 1:
            return False
        (x,) = operation.inputs["x"]
        before = self._types.get(x) if isinstance(x, str) else x.type
        return all(
            isinstance(one, ValueType) and one.dtype in _FLOATS
            for one in (before, operation.outputs[0].type)
        )


class Unpaired:
    """The operators of a block, in order, that have no twin yet."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = {id(node): node for node in nodes}
        self._readers: dict[tuple[str, frozenset[Reading]], list[Node]] = {}
        for node in nodes:
            self._readers.setdefault((node.type, node.readings), []).append(node)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def of(self, type_: str, readings: frozenset[Reading]) -> Iterator[Node]:
        """Those of a type that read these variables in these places."""
        for node in self._readers.get((type_, readings), ()):
            if id(node) in self._nodes:
                yield node

    def remove(self, node: Node) -> None:
        del self._nodes[id(node)]


def has_rounded_results(single: Node, half: Node) -> bool:
    """Whether the results of `half` have the shapes of those of `single`, and its types or fp16."""
    results = single.operation.outputs, half.operation.outputs
    return len(results[0]) == len(results[1]) and all(
        _is_rounded(a.type, b.type) for a, b in zip(*results, strict=True)
    )


def _is_rounded(single: Type, half: Type) -> bool:
    if isinstance(single, ValueType) and isinstance(half, ValueType):
        precision = half.dtype == single.dtype or (single.dtype, half.dtype) == ("fp32", "fp16")
        return precision and half.shape == single.shape
    return half == single
