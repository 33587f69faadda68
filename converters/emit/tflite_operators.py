"""What each operation of a `Program` is in TFLite: builtin operators that XNNPACK takes.

What the delegate of ai-edge-litert 2.3.0 takes was tried with files of one operator: every rank
up to 6, any axes of a mean, constants on either side of a product, a sum or a concatenation. It
leaves PADV2, CAST, concatenations of one tensor or of more than five, pools of 1x1 or with strides
larger than the kernel, and whatever is of int32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from ..lowering.program import NotCovered, Operation
from .tflite_file import TfliteFile
from .tflite_steps import Step, activated, bounded, chain, copied, join, joined, operands, pad
from .tflite_windows import average_pool2d, conv2d, depthwise_conv2d, max_pool2d

_Translation = Callable[[TfliteFile, Operation], None]

_MOST_JOINED = 5  # tensors in one CONCATENATION
_OF_ANY_DTYPE = ("reshape", "transpose", "concatenate", "slice", "cast")


def translate(file: TfliteFile, operation: Operation) -> None:
    """Appends the operators of one operation. Raises NotCovered where there are none."""
    if operation.kind not in _TRANSLATIONS:
        raise NotCovered(f"{operation.kind} has no form in TFLite")
    dtypes = {tensor.dtype for tensor in (*operation.inputs, operation.output)}
    if operation.kind not in _OF_ANY_DTYPE and dtypes != {"float32"}:
        raise NotCovered(f"{operation.kind} on {' and '.join(sorted(dtypes))}")
    _TRANSLATIONS[operation.kind](file, operation)


def _one(
    kind: str,
    options: Callable[[Mapping[str, Any]], Any] | None = None,
    parameters: Callable[[Operation], Mapping[str, Sequence[int]]] = lambda operation: {},
) -> _Translation:
    """One operator with the operation's operands, and behind them `parameters` by name."""

    def translation(file: TfliteFile, operation: Operation) -> None:
        inputs = operands(file, operation)
        inputs += [file.parameter(name, p) for name, p in parameters(operation).items()]
        made = None if options is None else options(operation.attributes)
        file.operator(kind, inputs, file.tensor(operation.output), made)

    return translation


def _attributes(*names: str) -> Callable[[Operation], Mapping[str, Sequence[int]]]:
    return lambda operation: {name: operation.attributes[name] for name in names}


def _with_activation(kind: str, options: Callable[[], Any]) -> _Translation:
    def translation(file: TfliteFile, operation: Operation) -> None:
        activated(file, operation, kind, operands(file, operation), options())

    return translation


def _clamp(file: TfliteFile, operation: Operation) -> None:
    fused, steps = bounded(file, operation.attributes["low"], operation.attributes["high"])
    if fused != "NONE":
        steps = [Step(fused), *steps]
    (x,) = operands(file, operation)
    chain(file, operation, x, steps or [copied(file, operation)])


def _elu(file: TfliteFile, operation: Operation) -> None:
    alpha = operation.attributes["alpha"]
    if alpha != 1:
        raise NotCovered(f"elu with alpha {alpha:g}; TFLite has only 1")
    (x,) = operands(file, operation)
    chain(file, operation, x, [Step("ELU")])


def _pad(file: TfliteFile, operation: Operation) -> None:
    before, after, value = (operation.attributes[name] for name in ("before", "after", "value"))
    amounts = list(zip(before, after, strict=True))
    (x,) = operands(file, operation)
    pad(file, operation, x, amounts, value, file.tensor(operation.output))


def _concatenate(file: TfliteFile, operation: Operation) -> None:
    axis, parts = operation.attributes["axis"], operands(file, operation)
    if len(parts) == 1:
        chain(file, operation, parts[0], [copied(file, operation)])
        return
    while (excess := len(parts) - _MOST_JOINED) > 0:
        rest, parts = parts, []
        while rest:  # as few as will do are copied twice
            count = min(_MOST_JOINED, excess + 1)
            some, rest = rest[:count], rest[count:]
            parts.append(joined(file, operation, some, axis) if len(some) > 1 else some[0])
            excess -= len(some) - 1
    join(file, parts, axis, file.tensor(operation.output))


def _cast(file: TfliteFile, operation: Operation) -> None:
    (x,) = operation.inputs
    if (x.dtype, operation.output.dtype) == ("uint8", "float32"):
        # XNNPACK takes it, where it leaves CAST; the file's uint8 tensors stand for themselves.
        step = Step("DEQUANTIZE", options=schema.DequantizeOptionsT())
    else:
        step = Step("CAST", options=schema.CastOptionsT())
    chain(file, operation, file.tensor(x), [step])


_TRANSLATIONS: Mapping[str, _Translation] = {
    "conv2d": conv2d,
    "depthwise_conv2d": depthwise_conv2d,
    "fully_connected": _with_activation(
        "FULLY_CONNECTED", lambda: schema.FullyConnectedOptionsT(keepNumDims=True)
    ),
    "batch_matmul": _one(
        "BATCH_MATMUL", lambda a: schema.BatchMatMulOptionsT(adjY=a["transpose_b"])
    ),
    "add": _with_activation("ADD", schema.AddOptionsT),
    "subtract": _with_activation("SUB", schema.SubOptionsT),
    "multiply": _with_activation("MUL", schema.MulOptionsT),
    "divide": _with_activation("DIV", schema.DivOptionsT),
    "maximum": _one("MAXIMUM", lambda a: schema.MaximumMinimumOptionsT()),
    "minimum": _one("MINIMUM", lambda a: schema.MaximumMinimumOptionsT()),
    "clamp": _clamp,
    "sigmoid": _one("LOGISTIC"),
    "tanh": _one("TANH"),
    "gelu": _one("GELU", lambda a: schema.GeluOptionsT(approximate=False)),
    "hardswish": _one("HARD_SWISH"),
    "abs": _one("ABS"),
    "negate": _one("NEG"),
    "square": _one("SQUARE"),
    "sqrt": _one("SQRT"),
    "rsqrt": _one("RSQRT"),
    "exp": _one("EXP"),
    "log": _one("LOG"),
    "floor": _one("FLOOR"),
    "ceil": _one("CEIL"),
    "sin": _one("SIN"),
    "cos": _one("COS"),
    "elu": _elu,
    "leaky_relu": _one("LEAKY_RELU", lambda a: schema.LeakyReluOptionsT(alpha=a["alpha"])),
    "softmax": _one("SOFTMAX", lambda a: schema.SoftmaxOptionsT(beta=1.0)),
    "mean": _one("MEAN", lambda a: schema.ReducerOptionsT(keepDims=True), _attributes("axes")),
    "average_pool2d": average_pool2d,
    "max_pool2d": max_pool2d,
    "resize_bilinear": _one(
        "RESIZE_BILINEAR",
        lambda a: schema.ResizeBilinearOptionsT(
            alignCorners=a["align_corners"], halfPixelCenters=a["half_pixel_centers"]
        ),
        _attributes("size"),
    ),
    "reshape": _one("RESHAPE", None, lambda operation: {"shape": operation.output.shape}),
    "transpose": _one("TRANSPOSE", None, _attributes("order")),
    "concatenate": _concatenate,
    "slice": _one("SLICE", None, _attributes("begin", "size")),
    "pad": _pad,
    "cast": _cast,
}
