"""Convolutions and pools in TFLite, whose padding is one of two schemes: SAME and VALID."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..lowering.program import NotCovered, Operation
from .tflite_file import TfliteFile
from .tflite_steps import activated, between, operands, pad


def conv2d(file: TfliteFile, operation: Operation) -> None:
    _convolution(file, operation, "CONV_2D", schema.Conv2DOptionsT)


def depthwise_conv2d(file: TfliteFile, operation: Operation) -> None:
    x, weight = operation.inputs[:2]
    multiplier = weight.shape[3] // x.shape[3]

    def options(**fields: Any) -> Any:
        return schema.DepthwiseConv2DOptionsT(depthMultiplier=multiplier, **fields)

    _convolution(file, operation, "DEPTHWISE_CONV_2D", options)


def average_pool2d(file: TfliteFile, operation: Operation) -> None:
    _pool(file, operation, "AVERAGE_POOL_2D", None)  # values put in would count


def max_pool2d(file: TfliteFile, operation: Operation) -> None:
    if tuple(operation.attributes["dilation"]) != (1, 1):
        raise NotCovered("max_pool2d with dilation has no form in TFLite")
    _pool(file, operation, "MAX_POOL_2D", -np.inf)


def _convolution(
    file: TfliteFile, operation: Operation, kind: str, options: Callable[..., Any]
) -> None:
    stride, dilation = operation.attributes["stride"], operation.attributes["dilation"]
    kernel = operation.inputs[1].shape[1:3]
    x, padding = _windowed(file, operation, kernel, dilation, 0.0)
    _, weight, *bias = operands(file, operation)
    if not bias:  # the interpreter refuses a CONV_2D and crashes on a DEPTHWISE_CONV_2D without
        channels = operation.output.shape[3]
        bias = [file.parameter("zeros", np.zeros(channels), "float32")]
    made = options(
        padding=padding,
        strideH=stride[0],
        strideW=stride[1],
        dilationHFactor=dilation[0],
        dilationWFactor=dilation[1],
    )
    activated(file, operation, kind, [x, weight, *bias], made)


def _pool(file: TfliteFile, operation: Operation, kind: str, border: float | None) -> None:
    kernel, stride = operation.attributes["kernel"], operation.attributes["stride"]
    x, padding = _windowed(file, operation, kernel, (1, 1), border)
    options = schema.Pool2DOptionsT(
        padding=padding,
        strideH=stride[0],
        strideW=stride[1],
        filterHeight=kernel[0],
        filterWidth=kernel[1],
    )
    file.operator(kind, [x], file.tensor(operation.output), options)


def _windowed(
    file: TfliteFile,
    operation: Operation,
    kernel: Sequence[int],
    dilation: Sequence[int],
    border: float | None,
) -> tuple[int, int]:
    """What an operator with windows reads in the first operand's place, and its scheme.

    Where neither scheme fits, `border` is put around the operand first; NotCovered where it is
    None. XNNPACK fuses a PAD into the convolution behind it if nothing else reads the padded map,
    so each convolution has its own, and it costs nothing. Kernels widened by a row and a column of
    zeros, for which SAME would fit, take longer: a stem of 3x3 1.5 times, a depthwise 3x3 2 to 4
    times, a depthwise 5x5 about 10 times, being past the runtime's depthwise kernels of 25 taps.
    """
    _, height, width, _ = operation.inputs[0].shape
    stride = operation.attributes["stride"]
    top, left, bottom, right = operation.attributes["padding"]
    rows, row_schemes = _fit(height, kernel[0], stride[0], dilation[0], (top, bottom))
    columns, column_schemes = _fit(width, kernel[1], stride[1], dilation[1], (left, right))
    x = file.tensor(operation.inputs[0])
    for scheme in ("VALID", "SAME"):
        if scheme in row_schemes & column_schemes:
            return x, getattr(schema.Padding, scheme)
    if border is None:
        raise NotCovered(f"{operation.kind} with padding {(top, left, bottom, right)}")
    amounts = [(0, 0), rows, columns, (0, 0)]
    shape = [size + sum(pair) for size, pair in zip(file.shape(x), amounts, strict=True)]
    padded = between(file, operation, "pad", shape)
    pad(file, operation, x, amounts, border, padded)
    return padded, schema.Padding.VALID


def _fit(
    size: int, kernel: int, stride: int, dilation: int, padding: tuple[int, int]
) -> tuple[tuple[int, int], set[str]]:
    """The padding along one axis that windows really read, and the schemes that say the same.

    The last window may end before the padding does: a kernel of 3 with stride 2 and padding
    (1, 1) on an even size reads (1, 0). SAME has ceil(size / stride) windows, and of what they
    lack it pads half, rounded down, before: there (0, 1).
    """
    before, after = padding
    reach = dilation * (kernel - 1) + 1
    windows = (size + before + after - reach) // stride + 1
    lacking = max((windows - 1) * stride + reach - size, 0)
    after = max(lacking - before, 0)
    schemes = set()
    if before == after == 0:
        schemes.add("VALID")
    if windows == -(-size // stride) and before == lacking // 2:
        schemes.add("SAME")
    return (before, after), schemes
