"""Programs for the tests of the emitters.

`CASES` are programs of one operation, at least one for every kind, with the parameters in which
emitters may differ; what they compute is said by `oracle.py`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from converters.lowering.program import Operation, Program, Tensor
from tests.converters.emit.oracle import Array, apply, run


@dataclass(frozen=True)
class Shaped:
    """An operand that the program is given: `shape`, with values of `dtype`."""

    shape: tuple[int, ...]
    dtype: str = "float32"


def given(*shape: int, dtype: str = "float32") -> Shaped:
    return Shaped(shape, dtype)


def weights(*shape: int, seed: int = 0) -> Array:
    """Constants from the normal distribution."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)


def single(
    kind: str,
    *operands: Shaped | Array,
    shape: tuple[int, ...] | None = None,
    dtype: str = "float32",
    **attributes: Any,
) -> Program:
    """A program of one operation: inputs x0, x1, ..., output y.

    Arrays are constants. The output's shape is what torch says, for a reshape the one given.
    """
    tensors = [
        Tensor(f"x{i}", operand.shape, operand.dtype)
        if isinstance(operand, Shaped)
        else Tensor(f"c{i}", operand.shape, operand.dtype.name, operand)
        for i, operand in enumerate(operands)
    ]
    if shape is None:
        trial = Operation(kind, tuple(tensors), Tensor("y", (), dtype), attributes)
        shape = tuple(apply(trial, [torch.ones(t.shape).double() for t in tensors]).shape)
    y = Tensor("y", shape, dtype)
    operation = Operation(kind, tuple(tensors), y, attributes, module="stage.block")
    return Program([t for t in tensors if t.data is None], {"y": y}, [operation])


@dataclass(frozen=True)
class Case:
    """A program with a name; `positive`: of numbers far enough from zero."""

    name: str
    program: Program
    positive: bool = False

    def inputs(self) -> dict[str, Array]:
        """Reproducible values for the program's inputs."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        return {tensor.name: _values(rng, tensor, self.positive) for tensor in self.program.inputs}

    def expected(self) -> dict[str, Array]:
        """What the outputs are on `inputs()`, in float64."""
        return run(self.program, self.inputs())


def _values(rng: np.random.Generator, tensor: Tensor, positive: bool) -> Array:
    if tensor.dtype == "uint8":
        return rng.integers(0, 256, tensor.shape, np.uint8)
    if tensor.dtype == "int32":
        return rng.integers(-1000, 1000, tensor.shape, np.int32)
    values = 2 * rng.standard_normal(tensor.shape, np.float32)
    return np.abs(values) + np.float32(0.1) if positive else values


_SQUARE: dict[str, Any] = {"stride": (1, 1), "dilation": (1, 1), "padding": (0, 0, 0, 0)}
_UNARY = (
    "sigmoid", "tanh", "gelu", "hardswish", "abs", "negate", "square", "sqrt", "rsqrt", "exp",
    "log", "floor", "ceil", "sin", "cos",
)  # fmt: skip


def _convolutions() -> dict[str, Program]:
    x, bias, plain = given(1, 9, 12, 6), weights(8), _SQUARE | {"groups": 1}
    point, three = weights(8, 1, 1, 6), weights(8, 3, 3, 6)

    def conv(*operands: Any, **changes: Any) -> Program:
        return single("conv2d", *operands, **(plain | changes))

    found = {
        "pointwise": conv(x, point, bias),
        "pointwise without bias": conv(x, point),
        "pointwise with stride": conv(x, point, bias, stride=(2, 2)),
        "valid": conv(x, three, bias),
        "batch 3": conv(given(3, 9, 12, 6), three, bias, padding=(1, 1, 1, 1)),
        "same": conv(x, three, bias, padding=(1, 1, 1, 1)),
        "stride 2, odd and even": conv(x, three, bias, stride=(2, 2), padding=(1, 1, 1, 1)),
        "stride 2, even": conv(
            given(1, 8, 12, 6), three, bias, stride=(2, 2), padding=(1, 1, 1, 1)
        ),
        "stride 2, end only": conv(
            given(1, 8, 12, 6), three, bias, stride=(2, 2), padding=(0, 0, 1, 1)
        ),
        "stem": conv(
            given(1, 16, 16, 3), weights(8, 3, 3, 3), bias, stride=(2, 2), padding=(1, 1, 1, 1)
        ),
        "stem 7x7": conv(
            given(1, 16, 16, 3), weights(8, 7, 7, 3), bias, stride=(2, 2), padding=(3, 3, 3, 3)
        ),
        "patches": conv(given(1, 8, 8, 3), weights(8, 4, 4, 3), bias, stride=(4, 4)),
        "unequal sides": conv(x, weights(8, 1, 5, 6), bias, stride=(1, 2), padding=(0, 2, 0, 2)),
        "dilation": conv(x, three, bias, dilation=(2, 2), padding=(2, 2, 2, 2)),
        "dilation, valid": conv(x, three, bias, dilation=(2, 3)),
        "dilation and stride": conv(
            x, three, bias, dilation=(2, 2), stride=(2, 2), padding=(2, 2, 2, 2)
        ),
        "wide padding": conv(x, three, bias, padding=(3, 2, 1, 0)),
        "groups": conv(x, weights(8, 3, 3, 3), bias, groups=2, padding=(1, 1, 1, 1)),
        "relu": conv(x, three, bias, activation=(0.0, None)),
        "relu6": conv(x, three, bias, activation=(0.0, 6.0)),
        "clamped": conv(x, three, bias, activation=(-0.5, 0.75)),
        "one side": conv(x, three, bias, activation=(None, 0.5)),
    }
    return {f"conv2d {name}": program for name, program in found.items()}


def _depthwise_convolutions() -> dict[str, Program]:
    x, bias = given(1, 9, 12, 6), weights(6)

    def conv(*operands: Any, **changes: Any) -> Program:
        return single("depthwise_conv2d", *operands, **(_SQUARE | changes))

    three, five = weights(1, 3, 3, 6), weights(1, 5, 5, 6)
    found = {
        "same": conv(x, three, bias, padding=(1, 1, 1, 1)),
        "without bias": conv(x, three, padding=(1, 1, 1, 1)),
        "valid": conv(x, five, bias),
        "5x5": conv(x, five, bias, padding=(2, 2, 2, 2)),
        "7x7": conv(x, weights(1, 7, 7, 6), bias, padding=(3, 3, 3, 3)),
        "stride 2": conv(given(1, 8, 10, 6), three, bias, stride=(2, 2), padding=(1, 1, 1, 1)),
        "stride 2, 5x5": conv(given(1, 8, 10, 6), five, bias, stride=(2, 2), padding=(2, 2, 2, 2)),
        "dilation": conv(x, five, bias, dilation=(2, 2), padding=(4, 4, 4, 4)),
        "dilation, 4x4": conv(x, weights(1, 4, 4, 6), bias, dilation=(2, 2), padding=(3, 3, 3, 3)),
        "multiplier": conv(x, weights(1, 3, 3, 12), weights(12), padding=(1, 1, 1, 1)),
        "one channel": conv(given(1, 9, 12, 1), weights(1, 3, 3, 4), weights(4)),
        "relu": conv(x, three, bias, padding=(1, 1, 1, 1), activation=(0.0, None)),
        "clamped": conv(x, three, bias, padding=(1, 1, 1, 1), activation=(-1.5, 1.0)),
    }
    return {f"depthwise_conv2d {name}": program for name, program in found.items()}


def _products() -> dict[str, Program]:
    return {
        "fully_connected": single("fully_connected", given(2, 6), weights(5, 6), weights(5)),
        "fully_connected without bias": single("fully_connected", given(2, 6), weights(5, 6)),
        "fully_connected rank 3": single(
            "fully_connected", given(1, 7, 6), weights(5, 6), weights(5)
        ),
        "fully_connected rank 4": single(
            "fully_connected", given(2, 3, 4, 6), weights(5, 6), weights(5)
        ),
        "fully_connected relu": single(
            "fully_connected", given(2, 6), weights(5, 6), weights(5), activation=(0.0, None)
        ),
        "batch_matmul": single("batch_matmul", given(3, 4, 5), given(3, 5, 6), transpose_b=False),
        "batch_matmul transposed": single(
            "batch_matmul", given(3, 4, 5), given(3, 6, 5), transpose_b=True
        ),
        "batch_matmul of batch 1": single(
            "batch_matmul", given(1, 4, 5), given(1, 6, 5), transpose_b=True
        ),
        "batch_matmul rank 4": single(
            "batch_matmul", given(2, 3, 4, 5), given(2, 3, 5, 6), transpose_b=False
        ),
        "batch_matmul by a constant": single(
            "batch_matmul", given(3, 4, 5), weights(3, 6, 5), transpose_b=True
        ),
        "batch_matmul of a constant": single(
            "batch_matmul", weights(3, 4, 5), given(3, 5, 6), transpose_b=False
        ),
    }


def _elementwise() -> dict[str, Program]:
    x = given(2, 3, 4, 5)
    found = {kind: single(kind, x) for kind in _UNARY}
    for kind in ("add", "subtract", "multiply", "divide", "maximum", "minimum"):
        found |= {
            kind: single(kind, x, x),
            f"{kind} of rows": single(kind, x, given(5)),
            f"{kind} both ways": single(kind, given(2, 1, 4, 1), given(3, 1, 5)),
            f"{kind} by a number": single(kind, x, np.array(1.5, np.float32)),
            f"{kind} of a constant": single(kind, np.abs(weights(3, 4, 5)) + 1, x),
        }
    for kind in ("add", "subtract", "multiply", "divide"):
        found |= {
            f"{kind} relu": single(kind, x, x, activation=(0.0, None)),
            f"{kind} clamped": single(kind, x, x, activation=(-0.5, 0.25)),
        }
    for low, high in ((0.0, None), (0.0, 6.0), (-1.0, 1.0), (0.0, 1.0), (-0.5, None), (None, 0.25),
                      (-0.25, 0.5)):  # fmt: skip
        found[f"clamp {low} {high}"] = single("clamp", x, low=low, high=high)
    found |= {
        "elu": single("elu", x, alpha=1.0),
        "elu 0.5": single("elu", x, alpha=0.5),
        "leaky_relu": single("leaky_relu", x, alpha=0.125),
        "softmax": single("softmax", given(2, 3, 7)),
        "softmax rank 2": single("softmax", given(3, 7)),
        "softmax rank 4": single("softmax", x),
    }
    for rank in (1, 2, 3, 5, 6):
        shape = (2, 3, 2, 2, 3, 4)[-rank:]
        found[f"add rank {rank}"] = single("add", given(*shape), given(*shape))
        found[f"sigmoid rank {rank}"] = single("sigmoid", given(*shape))
    return found


def _reductions() -> dict[str, Program]:
    found = {
        f"mean {axes} of {shape}": single("mean", given(*shape), axes=axes)
        for shape, axes in (
            ((2, 5, 6, 4), (1, 2)),
            ((2, 5, 6, 4), (3,)),
            ((2, 5, 6, 4), (1,)),
            ((2, 5, 6, 4), (1, 2, 3)),
            ((2, 5, 6), (2,)),
            ((2, 5, 6), (1,)),
            ((5, 6), (1,)),
            ((2, 5, 6), (0, 2)),
            ((2, 3, 4, 5, 6), (4,)),
        )
    }
    x = given(1, 8, 10, 4)

    def pool(kind: str, **changes: Any) -> Program:
        base: dict[str, Any] = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0, 0, 0)}
        return single(kind, x, **(base | changes))

    average, largest = "average_pool2d", "max_pool2d"
    found |= {
        "average_pool2d": pool(average),
        "average_pool2d overlapping": pool(average, kernel=(3, 3), stride=(1, 1)),
        "average_pool2d same": pool(average, kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1)),
        "average_pool2d unequal sides": pool(average, kernel=(4, 5), stride=(4, 5)),
        "max_pool2d": pool(largest, dilation=(1, 1)),
        "max_pool2d same": pool(
            largest, kernel=(5, 5), stride=(1, 1), padding=(2, 2, 2, 2), dilation=(1, 1)
        ),
        "max_pool2d stem": pool(largest, kernel=(3, 3), padding=(1, 1, 1, 1), dilation=(1, 1)),
    }
    return found


def _shapes() -> dict[str, Program]:
    x = given(1, 4, 6, 3)
    found = {
        "resize_bilinear half pixels": single(
            "resize_bilinear", x, size=(8, 9), align_corners=False, half_pixel_centers=True
        ),
        "resize_bilinear smaller": single(
            "resize_bilinear", x, size=(2, 4), align_corners=False, half_pixel_centers=True
        ),
        "resize_bilinear corners": single(
            "resize_bilinear", x, size=(8, 9), align_corners=True, half_pixel_centers=False
        ),
        "resize_bilinear plain": single(
            "resize_bilinear", x, size=(8, 12), align_corners=False, half_pixel_centers=False
        ),
        "reshape": single("reshape", given(2, 3, 4), shape=(2, 12)),
        "reshape to rank 6": single("reshape", given(4, 6, 8), shape=(2, 2, 3, 2, 4, 2)),
        "concatenate": single("concatenate", x, given(1, 4, 6, 2), axis=3),
        "concatenate rows": single("concatenate", x, given(1, 2, 6, 3), axis=1),
        "concatenate a constant": single("concatenate", weights(1, 1, 5), given(1, 4, 5), axis=1),
        "concatenate eight": single("concatenate", *[given(1, 4, 2)] * 8, axis=2),
        "concatenate one": single("concatenate", x, axis=2),
        "slice": single("slice", x, begin=(0, 1, 2, 0), size=(1, 2, 3, 3)),
        "slice of channels": single("slice", given(2, 6, 9), begin=(0, 0, 3), size=(2, 6, 3)),
        "slice rank 5": single(
            "slice", given(2, 3, 4, 5, 3), begin=(0, 0, 0, 0, 1), size=(2, 3, 4, 5, 1)
        ),
        "pad": single("pad", x, before=(0, 1, 2, 0), after=(0, 3, 0, 0), value=0.0),
        "pad of channels": single("pad", x, before=(0, 0, 0, 1), after=(0, 0, 0, 2), value=0.0),
        "pad with a number": single("pad", x, before=(0, 1, 1, 0), after=(0, 1, 1, 0), value=-1.5),
        "pad with -inf": single("pad", x, before=(0, 1, 1, 0), after=(0, 1, 1, 0), value=-np.inf),
        "pad rank 2": single("pad", given(3, 4), before=(1, 0), after=(0, 2), value=0.0),
        "cast uint8": single("cast", given(1, 4, 6, 3, dtype="uint8")),
        "cast int32": single("cast", given(2, 5, dtype="int32")),
        "cast to int32": single("cast", given(2, 5), dtype="int32"),
    }
    for order in ((1, 0), (0, 2, 1), (0, 2, 1, 3), (0, 3, 1, 2), (0, 1, 3, 2, 4),
                  (0, 2, 4, 1, 3), (0, 1, 3, 2, 4, 5), (0, 1, 3, 5, 2, 4)):  # fmt: skip
        shape = (2, 3, 4, 2, 3, 2)[: len(order)]
        found[f"transpose {order}"] = single("transpose", given(*shape), order=order)
    return found


def _cases() -> dict[str, Case]:
    positive = {"sqrt", "rsqrt", "log", "divide"}
    programs = (
        _convolutions()
        | _depthwise_convolutions()
        | _products()
        | _elementwise()
        | _reductions()
        | _shapes()
    )
    return {
        name: Case(name, program, name.split()[0] in positive) for name, program in programs.items()
    }


CASES = _cases()
