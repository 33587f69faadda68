"""What a `Program` computes, by torch in float64: the oracle for lowering and emitters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor as Value

from converters.lowering.program import Operation, Program

Array = NDArray[Any]


def _nchw(x: Value) -> Value:
    return x.permute(0, 3, 1, 2)


def _nhwc(x: Value) -> Value:
    return x.permute(0, 2, 3, 1)


def _padded(x: Value, padding: Sequence[int], value: float = 0.0) -> Value:
    top, left, bottom, right = padding
    return F.pad(_nchw(x), (left, right, top, bottom), value=value)


def _conv2d(x: Value, weight: Value, bias: Value | None = None, **a: Any) -> Value:
    x = _padded(x, a["padding"])
    return _nhwc(F.conv2d(x, _nchw(weight), bias, a["stride"], 0, a["dilation"], a["groups"]))


def _depthwise(x: Value, weight: Value, bias: Value | None = None, **a: Any) -> Value:
    kernel = weight.permute(3, 0, 1, 2)  # (1, kh, kw, C*m) -> (C*m, 1, kh, kw)
    groups = x.shape[-1]
    padded = _padded(x, a["padding"])
    return _nhwc(F.conv2d(padded, kernel, bias, a["stride"], 0, a["dilation"], groups))


def _average_pool(x: Value, kernel: Any, stride: Any, padding: Any) -> Value:
    total, count = (
        F.avg_pool2d(_padded(v, padding), kernel, stride, divisor_override=1)
        for v in (x, torch.ones_like(x))
    )
    return _nhwc(total / count)


def _max_pool(x: Value, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Value:
    return _nhwc(F.max_pool2d(_padded(x, padding, -torch.inf), kernel, stride, 0, dilation))


def _resize(x: Value, size: Any, align_corners: bool, half_pixel_centers: bool) -> Value:
    if align_corners or half_pixel_centers:
        assert not (align_corners and half_pixel_centers)
        return _nhwc(F.interpolate(_nchw(x), size, mode="bilinear", align_corners=align_corners))
    # Pixel i of the output lies at i * old / new.
    rows, columns = (
        torch.arange(new).double() * (old / new) * 2 / (old - 1) - 1
        for new, old in zip(size, x.shape[1:3], strict=True)
    )
    y_grid, x_grid = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack([x_grid, y_grid], -1).expand(len(x), -1, -1, -1)
    return _nhwc(F.grid_sample(_nchw(x), grid, "bilinear", "border", align_corners=True))


def _pad(x: Value, before: Sequence[int], after: Sequence[int], value: float) -> Value:
    pairs = [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
    return F.pad(x, pairs, value=value)


def _slice(x: Value, begin: Sequence[int], size: Sequence[int]) -> Value:
    for axis, (first, count) in enumerate(zip(begin, size, strict=True)):
        x = x.narrow(axis, first, count)
    return x


def _clamp(x: Value, low: float | None, high: float | None) -> Value:
    return x if low is None and high is None else x.clamp(low, high)


_MEANINGS: dict[str, Callable[..., Value]] = {
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise,
    "fully_connected": F.linear,
    "batch_matmul": lambda a, b, transpose_b: a @ (b.mT if transpose_b else b),
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "clamp": _clamp,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "hardswish": F.hardswish,
    "abs": torch.abs,
    "negate": torch.neg,
    "square": torch.square,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "exp": torch.exp,
    "log": torch.log,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "sin": torch.sin,
    "cos": torch.cos,
    "elu": F.elu,
    "leaky_relu": lambda x, alpha: F.leaky_relu(x, alpha),
    "softmax": lambda x: x.softmax(-1),
    "mean": lambda x, axes: x.mean(tuple(axes), keepdim=True),
    "average_pool2d": _average_pool,
    "max_pool2d": _max_pool,
    "resize_bilinear": _resize,
    "transpose": lambda x, order: x.permute(*order),
    "concatenate": lambda *xs, axis: torch.cat(xs, axis),
    "slice": _slice,
    "pad": _pad,
}


def apply(operation: Operation, operands: Sequence[Value]) -> Value:
    """The result of one operation."""
    attributes = dict(operation.attributes)
    if operation.kind == "reshape":
        return operands[0].reshape(operation.output.shape)
    if operation.kind == "cast":
        target = getattr(torch, operation.output.dtype)
        return operands[0].to(target).double()
    low, high = attributes.pop("activation", None) or (None, None)
    result = _MEANINGS[operation.kind](*operands, **attributes)
    return _clamp(result, low, high)


def run(program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of a program by name, for inputs by the names of the program's tensors."""
    values = {
        tensor: torch.from_numpy(np.array(tensor.data)).double() for tensor in program.constants()
    }
    values |= {
        tensor: torch.from_numpy(np.array(inputs[tensor.name])).double()
        for tensor in program.inputs
    }
    for operation in program.operations:
        result = apply(operation, [values[tensor] for tensor in operation.inputs])
        assert tuple(result.shape) == tuple(operation.output.shape), operation
        values[operation.output] = result
    return {name: values[tensor].numpy() for name, tensor in program.outputs.items()}
