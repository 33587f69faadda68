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
    makers: dict[Tensor, int] = {}
    operations: list[Operation] = []
    for one in program.operations:
        source = one.inputs[0] if one.kind == "clamp" else None
        index = makers.get(source) if source is not None and readers[source] == 1 else None
        maker = None if index is None else operations[index]
        fits = maker is not None and maker.kind in _WITH_ACTIVATION
        if fits and maker is not None and index is not None:
            if maker.attributes.get("activation") is None:
                bounds = (one.attributes["low"], one.attributes["high"])
                operations[index] = replace(
                    maker, output=one.output, attributes={**maker.attributes, "activation": bounds}
                )
                makers[one.output] = index
                continue
        makers[one.output] = len(operations)
        operations.append(one)
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
