"""What several operations need in TFLite: operators in a row, activations, borders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..lowering.program import Operation
from .tflite_file import TfliteFile

_Bounds = tuple[float | None, float | None]

_FUSED: Mapping[_Bounds, str] = {  # by the schema's ActivationFunctionType
    (None, None): "NONE",
    (0, None): "RELU",
    (0, 6): "RELU6",
    (-1, 1): "RELU_N1_TO_1",
}


@dataclass(frozen=True)
class Step:
    """An operator whose first input is the result of the one before."""

    kind: str
    others: Sequence[int] = ()
    options: Any = None


def chain(file: TfliteFile, operation: Operation, x: int, steps: Sequence[Step]) -> None:
    """Operators one after another from `x` to the operation's output, all of its shape."""
    for step in steps[:-1]:
        result = between(file, operation, step.kind.lower(), operation.output.shape)
        file.operator(step.kind, [x, *step.others], result, step.options)
        x = result
    last = steps[-1]
    file.operator(last.kind, [x, *last.others], file.tensor(operation.output), last.options)


def between(file: TfliteFile, operation: Operation, what: str, shape: Sequence[int]) -> int:
    """A value on the way to the operation's output."""
    return file.value(f"{operation.output.name}/{what}", shape, operation.output.dtype)


def operands(file: TfliteFile, operation: Operation) -> list[int]:
    return [file.tensor(tensor) for tensor in operation.inputs]


def copied(file: TfliteFile, operation: Operation) -> Step:
    """The value as it is."""
    return Step("RESHAPE", [file.parameter("shape", operation.output.shape)])


def bounded(file: TfliteFile, low: float | None, high: float | None) -> tuple[str, list[Step]]:
    """A clamp as an activation that operators can have fused to them, and what must follow."""
    if (low, high) in _FUSED:
        return _FUSED[low, high], []
    steps = []
    if low is not None and low != 0:
        steps.append(_bound(file, "MAXIMUM", low))
    if high is not None:
        steps.append(_bound(file, "MINIMUM", high))
    return "RELU" if low == 0 else "NONE", steps


def _bound(file: TfliteFile, kind: str, number: float) -> Step:
    operand = file.parameter(f"{number:g}", number, "float32")
    return Step(kind, [operand], schema.MaximumMinimumOptionsT())


def activated(
    file: TfliteFile, operation: Operation, kind: str, inputs: Sequence[int], options: Any
) -> None:
    """One operator with the operation's activation."""
    low, high = operation.attributes.get("activation") or (None, None)
    fused, rest = bounded(file, low, high)
    options.fusedActivationFunction = getattr(schema.ActivationFunctionType, fused)
    x, *others = inputs
    chain(file, operation, x, [Step(kind, others, options), *rest])


def pad(
    file: TfliteFile,
    operation: Operation,
    x: int,
    amounts: Sequence[tuple[int, int]],
    value: float,
    result: int,
) -> None:
    """Puts `value` before and behind each axis of x; PAD has zeros only.

    XNNPACK leaves PADV2 to the interpreter, and takes constants joined on.
    """
    axes = [axis for axis, pair in enumerate(amounts) if any(pair)]
    if value == 0 or not axes:
        file.operator("PAD", [x, file.parameter("padding", amounts)], result, schema.PadOptionsT())
        return
    for axis in axes:
        before, behind = (
            _border(file, resized(file.shape(x), axis, n), value) for n in amounts[axis]
        )
        parts = [*before, x, *behind]
        if axis == axes[-1]:
            join(file, parts, axis, result)
        else:
            x = joined(file, operation, parts, axis)


def _border(file: TfliteFile, shape: Sequence[int], value: float) -> list[int]:
    return [] if 0 in shape else [file.parameter("border", np.full(shape, value), "float32")]


def join(file: TfliteFile, parts: Sequence[int], axis: int, result: int) -> None:
    file.operator("CONCATENATION", parts, result, schema.ConcatenationOptionsT(axis=axis))


def joined(file: TfliteFile, operation: Operation, parts: Sequence[int], axis: int) -> int:
    """A new value that is the parts one behind another."""
    shapes = [file.shape(part) for part in parts]
    total = sum(shape[axis] for shape in shapes)
    result = between(file, operation, "part", resized(shapes[0], axis, total))
    join(file, parts, axis, result)
    return result


def resized(shape: Sequence[int], axis: int, size: int) -> tuple[int, ...]:
    """The shape with another size along one axis."""
    return (*shape[:axis], size, *shape[axis + 1 :])
