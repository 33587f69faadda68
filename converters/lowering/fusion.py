"""What is done to a finished program: activations into the operations before, nothing unread."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from .program import Operation, Program, Tensor

_WITH_ACTIVATION = frozenset(
    ("conv2d", "depthwise_conv2d", "fully_connected", "add", "subtract", "multiply", "divide")
)


def fuse_activations(program: Program) -> Program:
    """clamp(f(x)) as f with an activation, where nobody else reads f(x)."""
    readers = Counter(tensor for one in program.operations for tensor in one.inputs)
    readers.update(program.outputs.values())
    makers: dict[Tensor, int] = {}  # which operation made it, if that takes an activation
    operations: list[Operation] = []
    for one in program.operations:
        index = makers.get(one.inputs[0]) if one.kind == "clamp" else None
        if index is None or readers[one.inputs[0]] > 1:
            if one.kind in _WITH_ACTIVATION and one.attributes["activation"] is None:
                makers[one.output] = len(operations)
            operations.append(one)
        else:
            maker, bounds = operations[index], (one.attributes["low"], one.attributes["high"])
            attributes = {**maker.attributes, "activation": bounds}
            operations[index] = replace(maker, output=one.output, attributes=attributes)
    return Program(program.inputs, program.outputs, operations)


def without_dead_ends(program: Program) -> Program:
    """The program without operations whose result nobody reads."""
    read = set(program.outputs.values())
    kept: list[Operation] = []
    for one in reversed(program.operations):
        if one.output in read:
            kept.append(one)
            read.update(one.inputs)
    return Program(program.inputs, program.outputs, kept[::-1])
