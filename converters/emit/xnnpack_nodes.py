"""Each operation of a program as nodes of XNNPACK's graph.

Fields are those of executorch's schema; what they mean is documented in XNNPACK's `xnnpack.h`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from ..lowering.program import NotCovered, Operation
from .xnnpack_graph import NO_VALUE, Bounds, Graph

# XNN_FLAG_*
_TRANSPOSE_B = 0x1
_TENSORFLOW_LEGACY_MODE = 0x4
_ALIGN_CORNERS = 0x8
_KEEP_DIMS = 0x40
_MOST_CONCATENATED = 5


def translate(operation: Operation, graph: Graph) -> None:
    """Adds an operation's nodes. Raises NotCovered where XNNPACK has none for it."""
    kind = operation.kind
    if kind in _UNARY:
        _unary(operation, graph, _UNARY[kind])
    elif kind in _BINARY:
        _binary(operation, graph, _BINARY[kind])
    elif kind in _OTHERS:
        _OTHERS[kind](operation, graph)
    else:
        raise NotCovered(f"XNNPACK's delegate has no {kind}")


_UNARY = {
    "sigmoid": "Sigmoid", "tanh": "Tanh", "gelu": "Gelu", "hardswish": "Hardswish", "abs": "Abs",
    "negate": "Negate", "square": "Square", "sqrt": "SquareRoot", "rsqrt": "ReciprocalSquareRoot",
    "exp": "Exp", "log": "Log", "floor": "Floor", "ceil": "Ceiling", "sin": "Sin", "cos": "Cos",
    "softmax": "Softmax",
}  # fmt: skip
_BINARY = {
    "add": "Add", "subtract": "Subtract", "multiply": "Multiply", "divide": "Div",
    "maximum": "Maximum", "minimum": "Minimum", "batch_matmul": "BatchMatrixMultiply",
}  # fmt: skip


def _unary(
    operation: Operation,
    graph: Graph,
    name: str,
    activation: Bounds | None = None,
    /,
    **fields: Any,
) -> None:
    (x,) = operation.inputs
    output = graph.tensor(operation.output)
    graph.node(name, activation, input_id=graph.tensor(x), output_id=output, **fields)


def _binary(operation: Operation, graph: Graph, name: str) -> None:
    left, right = (graph.tensor(tensor) for tensor in operation.inputs)
    graph.node(
        name,
        operation.attributes.get("activation"),
        input1_id=left,
        input2_id=right,
        output_id=graph.tensor(operation.output),
        flags=_TRANSPOSE_B if operation.attributes.get("transpose_b") else 0,
    )


def _weighted(operation: Operation, graph: Graph, name: str, **fields: int) -> None:
    x = graph.tensor(operation.inputs[0])
    weight, *bias = (graph.weight(tensor) for tensor in operation.inputs[1:])
    graph.node(
        name,
        operation.attributes.get("activation"),
        input1_id=x,
        filter_id=weight,
        bias_id=bias[0] if bias else NO_VALUE,
        output_id=graph.tensor(operation.output),
        **fields,
    )


def _conv2d(operation: Operation, graph: Graph) -> None:
    outputs, *_, inputs = operation.inputs[1].shape
    groups = operation.attributes["groups"]
    _convolution(operation, graph, "Conv2d", groups, inputs, outputs // groups)


def _depthwise_conv2d(operation: Operation, graph: Graph) -> None:
    channels = operation.inputs[0].shape[3]
    multiplier = operation.inputs[1].shape[3] // channels
    _convolution(operation, graph, "DepthwiseConv2d", channels, 1, multiplier)


def _convolution(
    operation: Operation, graph: Graph, name: str, groups: int, inputs: int, outputs: int
) -> None:
    """`inputs` and `outputs` are channels of a group."""
    _weighted(
        operation,
        graph,
        name,
        groups=groups,
        group_input_channels=inputs,
        group_output_channels=outputs,
        **_padding(operation),
        **_pair("kernel", operation.inputs[1].shape[1:3]),
        **_pair("subsampling", operation.attributes["stride"]),
        **_pair("dilation", operation.attributes["dilation"]),
    )


def _fully_connected(operation: Operation, graph: Graph) -> None:
    _weighted(operation, graph, "FullyConnected")


def _pooling(operation: Operation, graph: Graph, name: str, **fields: int) -> None:
    kernel = _pair("pooling", operation.attributes["kernel"])
    stride = _pair("stride", operation.attributes["stride"])
    _unary(operation, graph, name, **kernel, **stride, **_padding(operation), **fields)


def _average_pool2d(operation: Operation, graph: Graph) -> None:
    _pooling(operation, graph, "AvgPooling2d")


def _max_pool2d(operation: Operation, graph: Graph) -> None:
    _pooling(
        operation, graph, "MaxPooling2d", **_pair("dilation", operation.attributes["dilation"])
    )


def _pair(name: str, sizes: Sequence[int]) -> dict[str, int]:
    height, width = sizes
    return {f"{name}_height": height, f"{name}_width": width}


def _padding(operation: Operation) -> dict[str, int]:
    sides = ("padding_top", "padding_left", "padding_bottom", "padding_right")
    return dict(zip(sides, operation.attributes["padding"], strict=True))


def _clamp(operation: Operation, graph: Graph) -> None:
    bounds = operation.attributes["low"], operation.attributes["high"]
    _unary(operation, graph, "Clamp", bounds)


def _elu(operation: Operation, graph: Graph) -> None:
    _unary(operation, graph, "ELU", alpha=operation.attributes["alpha"])


def _leaky_relu(operation: Operation, graph: Graph) -> None:
    _unary(operation, graph, "LeakyReLU", negative_slope=operation.attributes["alpha"])


def _resize_bilinear(operation: Operation, graph: Graph) -> None:
    attributes = operation.attributes
    flags = 0 if attributes["half_pixel_centers"] else _TENSORFLOW_LEGACY_MODE
    flags = _ALIGN_CORNERS if attributes["align_corners"] else flags
    size = _pair("new", attributes["size"])
    _unary(operation, graph, "StaticResizeBilinear2D", **size, flags=flags)


def _reshape(operation: Operation, graph: Graph) -> None:
    shape = operation.output.shape
    _unary(operation, graph, "StaticReshape", num_dims=len(shape), new_shape=shape)


def _transpose(operation: Operation, graph: Graph) -> None:
    order = operation.attributes["order"]
    _unary(operation, graph, "StaticTranspose", num_dims=len(order), perm=order)


def _slice(operation: Operation, graph: Graph) -> None:
    begin, size = operation.attributes["begin"], operation.attributes["size"]
    _unary(operation, graph, "StaticSlice", num_dims=len(size), offsets=begin, sizes=size)


def _pad(operation: Operation, graph: Graph) -> None:
    before, after = operation.attributes["before"], operation.attributes["after"]
    value = operation.attributes["value"]
    fields = {"pre_paddings": before, "post_paddings": after, "padding_value": value}
    _unary(operation, graph, "StaticConstantPad", **fields)


def _cast(operation: Operation, graph: Graph) -> None:
    """From float32 to float32: a graph takes no other tensors."""
    graph.bind(operation.output, graph.tensor(operation.inputs[0]))


def _concatenate(operation: Operation, graph: Graph) -> None:
    """XNNPACK joins two to five; of more, fives are joined first."""
    axis = operation.attributes["axis"]
    values = [graph.tensor(tensor) for tensor in operation.inputs]
    while len(values) > _MOST_CONCATENATED:
        starts = range(0, len(values), _MOST_CONCATENATED)
        fives = (values[start : start + _MOST_CONCATENATED] for start in starts)
        values = [_joined(five, axis, graph) for five in fives]
    if len(values) == 1:
        graph.bind(operation.output, values[0])
    else:
        _join(values, axis, graph.tensor(operation.output), graph)


def _joined(values: Sequence[int], axis: int, graph: Graph) -> int:
    if len(values) == 1:
        return values[0]
    shape = list(graph.shape(values[0]))
    shape[axis] = sum(graph.shape(value)[axis] for value in values)
    output = graph.value(shape)
    _join(values, axis, output, graph)
    return output


def _join(values: Sequence[int], axis: int, output: int, graph: Graph) -> None:
    inputs = {f"input{i}_id": value for i, value in enumerate(values, 1)}
    graph.node(f"Concatenate{len(values)}", axis=axis, **inputs, output_id=output)


def _mean(operation: Operation, graph: Graph) -> None:
    """Over one run of adjacent axes after the other.

    XNNPACK has the mean over the two axes of a map; other arrays are seen as maps, (before, count,
    1, after). Over the last axes a mean is a product with 1/n, 1/n, ..., which needs no map.
    """
    shape = operation.inputs[0].shape
    value = graph.tensor(operation.inputs[0])
    for first, end in _runs(operation.attributes["axes"]):
        before, count, after = (
            math.prod(sizes) for sizes in (shape[:first], shape[first:end], shape[end:])
        )
        reduced = (*shape[:first], *[1] * (end - first), *shape[end:])
        if end == len(shape):
            view, result = ((before, count), (before, 1)) if end - first > 1 else (shape, reduced)
            mean = graph.value(result)
            weight = graph.constant(np.full((1, count), 1 / count, np.float32), packed=True)
            operands = {"input1_id": _viewed(value, view, graph), "filter_id": weight}
            graph.node("FullyConnected", **operands, bias_id=NO_VALUE, output_id=mean)
        else:
            is_map = (len(shape), first, end) == (4, 1, 3)
            view = shape if is_map else (before, count, 1, after)
            mean = graph.value((before, 1, 1, after))
            viewed = _viewed(value, view, graph)
            graph.node("GlobalAvgPooling2d", input_id=viewed, output_id=mean, flags=_KEEP_DIMS)
        value, shape = _viewed(mean, reduced, graph), reduced
    graph.bind(operation.output, value)


def _runs(axes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first and the end of each run of adjacent axes."""
    for _, run in groupby(enumerate(axes), lambda pair: pair[1] - pair[0]):
        found = [axis for _, axis in run]
        yield found[0], found[-1] + 1


def _viewed(value: int, shape: Sequence[int], graph: Graph) -> int:
    """A value with another shape."""
    if graph.shape(value) == tuple(shape):
        return value
    viewed = graph.value(shape)
    operands = {"input_id": value, "output_id": viewed}
    graph.node("StaticReshape", num_dims=len(shape), new_shape=shape, **operands)
    return viewed


_OTHERS: dict[str, Callable[[Operation, Graph], None]] = {
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise_conv2d,
    "fully_connected": _fully_connected,
    "clamp": _clamp,
    "elu": _elu,
    "leaky_relu": _leaky_relu,
    "mean": _mean,
    "average_pool2d": _average_pool2d,
    "max_pool2d": _max_pool2d,
    "resize_bilinear": _resize_bilinear,
    "reshape": _reshape,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "slice": _slice,
    "pad": _pad,
    "cast": _cast,
}
