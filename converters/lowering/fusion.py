"""What is done to a finished program: clamps and borders into others, nothing that nobody reads."""

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


def fuse_padding(program: Program) -> Program:
    """A convolution of a map with zeros around it as one with more padding of its own.

    The padded map is left to others that read it.
    """
    borders = {one.output: one for one in program.operations if _is_border(one)}
    operations = [
        _with_border(one, borders[one.inputs[0]])
        if one.kind in ("conv2d", "depthwise_conv2d") and one.inputs[0] in borders
        else one
        for one in program.operations
    ]
    return Program(program.inputs, program.outputs, operations)


def _is_border(one: Operation) -> bool:
    """Whether it puts zeros around the rows and columns of a map."""
    if one.kind != "pad" or len(one.output.shape) != 4 or one.attributes["value"] != 0:
        return False
    widths = (*one.attributes["before"], *one.attributes["after"])
    return not any(widths[axis] for axis in (0, 3, 4, 7))


def _with_border(convolution: Operation, border: Operation) -> Operation:
    _, top, left, _ = border.attributes["before"]
    _, bottom, right, _ = border.attributes["after"]
    own = convolution.attributes["padding"]
    padding = tuple(a + b for a, b in zip(own, (top, left, bottom, right), strict=True))
    return replace(
        convolution,
        inputs=(border.inputs[0], *convolution.inputs[1:]),
        attributes={**convolution.attributes, "padding": padding},
    )


def without_dead_ends(program: Program) -> Program:
    """The program without operations whose result nobody reads."""
    read = set(program.outputs.values())
    kept: list[Operation] = []
    for one in reversed(program.operations):
        if one.output in read:
            kept.append(one)
            read.update(one.inputs)
    return Program(program.inputs, program.outputs, kept[::-1])
