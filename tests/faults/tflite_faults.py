"""Single faults in a .tflite file, put in through the object form of its FlatBuffer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.faults.mutations import (
    Array,
    Fault,
    Kind,
    bias_faults,
    epsilon_faults,
    off,
    other_axes,
    swapped_axes,
    weight_faults,
)

Edit = Callable[["Model", Any], None]  # of the model, at one of its operators

_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
_CODES = {name: code for code, name in _NAMES.items()}
_DTYPES = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT32: np.int32}
_LAYERS = {"CONV_2D": 0, "FULLY_CONNECTED": 0, "DEPTHWISE_CONV_2D": 3}  # axis of the channels
_OTHER_OPERATORS = {
    "LOGISTIC": ("TANH", Kind.ACTIVATION), "RELU": ("RELU6", Kind.ACTIVATION),
    "GELU": ("RELU", Kind.ACTIVATION), "RSQRT": ("SQRT", Kind.OPERATOR),
    "SQRT": ("RSQRT", Kind.OPERATOR), "MAXIMUM": ("MINIMUM", Kind.OPERATOR),
    "MEAN": ("SUM", Kind.REDUCTION), "SUM": ("MEAN", Kind.REDUCTION),
    "SQUARED_DIFFERENCE": ("SUB", Kind.OPERATOR), "ABS": ("NEG", Kind.OPERATOR),
}  # fmt: skip
_OTHER_ACTIVATIONS = {
    schema.ActivationFunctionType.NONE: (schema.ActivationFunctionType.RELU,),
    schema.ActivationFunctionType.RELU: (
        schema.ActivationFunctionType.NONE,
        schema.ActivationFunctionType.RELU6,
    ),
}
_EPSILON = 1e-3  # the constants of these networks below it are epsilons


class Model:
    """A file with one subgraph."""

    def __init__(self, file: Path) -> None:
        self._root = schema.ModelT.InitFromPackedBuf(file.read_bytes())
        self._graph = self._root.subgraphs[0]
        self.operators = self._graph.operators

    def write(self, file: Path) -> None:
        builder = flatbuffers.Builder()
        builder.Finish(self._root.Pack(builder), b"TFL3")
        file.write_bytes(builder.Output())

    def name(self, operator: Any) -> str:
        code = self._root.operatorCodes[operator.opcodeIndex]
        return _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def rename(self, operator: Any, name: str) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = _CODES[name]
        code.deprecatedBuiltinCode = min(_CODES[name], 127)
        operator.opcodeIndex = len(self._root.operatorCodes)
        self._root.operatorCodes.append(code)

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(map(int, self._graph.tensors[tensor].shape))

    def constant(self, operator: Any, index: int) -> Array | None:
        """What an operator has as its operand `index`, if that is a constant."""
        if index >= len(operator.inputs) or operator.inputs[index] < 0:
            return None
        tensor = self._graph.tensors[operator.inputs[index]]
        data = self._root.buffers[tensor.buffer].data
        if data is None or tensor.type not in _DTYPES:
            return None
        flat = np.frombuffer(np.asarray(data, np.uint8).tobytes(), _DTYPES[tensor.type])
        return flat.reshape(self.shape(operator.inputs[index]))

    def replace(self, operator: Any, index: int, value: Array) -> None:
        """Gives one operator another constant; those that shared the old one keep it."""
        old = self._graph.tensors[operator.inputs[index]]
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(value.tobytes(), np.uint8)
        tensor = schema.TensorT()
        tensor.shape = np.array(value.shape, np.int32)
        tensor.type, tensor.name = old.type, old.name + b" (faulty)"
        tensor.buffer = len(self._root.buffers)
        self._root.buffers.append(buffer)
        self._graph.tensors.append(tensor)
        rewire(operator, index, len(self._graph.tensors) - 1)


def rewire(operator: Any, index: int, tensor: int) -> None:
    """Makes a tensor an operator's operand `index`."""
    operator.inputs = operator.inputs.copy()  # what was read from a file cannot be written
    operator.inputs[index] = tensor


def faults(file: Path) -> list[Fault]:
    """All single faults of the vocabulary that this file has a place for."""
    model = Model(file)
    found = []
    for number, operator in enumerate(model.operators):
        place = f"{file.stem} {model.name(operator)} {number}"
        for kind, edit in _edits(model, operator, place):
            found.append(Fault(kind, place, _writer(file, number, edit)))
    return found


def _writer(file: Path, number: int, edit: Edit) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        model = Model(file)
        edit(model, model.operators[number])
        model.write(path)

    return write


def _edits(model: Model, operator: Any, seed: str) -> Iterator[tuple[Kind, Edit]]:
    name = model.name(operator)
    if name in _LAYERS:
        yield from _of_layer(model, operator, _LAYERS[name], seed)
    if name in ("ADD", "SUB", "MUL", "DIV", "MAXIMUM"):
        yield from _of_arithmetic(model, operator, name, seed)
    if name in ("MEAN", "SUM", "TRANSPOSE", "SLICE", "PAD"):
        yield from _of_indices(model, operator, name)
    if name in _OTHER_OPERATORS:
        other, kind = _OTHER_OPERATORS[name]
        yield kind, lambda model, operator: model.rename(operator, other)
    options = operator.builtinOptions
    if name == "SOFTMAX":
        yield Kind.SOFTMAX, _setting(beta=0.5)
    if name == "GELU":
        yield Kind.GELU_MODE, _setting(approximate=not options.approximate)
    if name == "BATCH_MATMUL":
        yield Kind.MATMUL, _setting(adjX=not options.adjX)
        yield Kind.MATMUL, _setting(adjY=not options.adjY)
    if name == "CONCATENATION":
        yield Kind.CONCAT_ORDER, _in_other_order
        rank = len(model.shape(operator.inputs[0]))
        yield Kind.CONCAT_AXIS, _setting(axis=(options.axis - 1) % rank)


def _setting(**values: Any) -> Edit:
    def edit(model: Model, operator: Any) -> None:
        for key, value in values.items():
            assert hasattr(operator.builtinOptions, key)
            setattr(operator.builtinOptions, key, value)

    return edit


def _constant(index: int, value: Array) -> Edit:
    def edit(model: Model, operator: Any) -> None:
        model.replace(operator, index, value)

    return edit


def _in_other_order(model: Model, operator: Any) -> None:
    operator.inputs = operator.inputs[::-1].copy()


def _repeated(kept: int, dropped: int) -> Edit:
    def edit(model: Model, operator: Any) -> None:
        rewire(operator, dropped, operator.inputs[kept])

    return edit


def _of_layer(model: Model, operator: Any, channels: int, seed: str) -> Iterator[tuple[Kind, Edit]]:
    weights, bias = model.constant(operator, 1), model.constant(operator, 2)
    options = operator.builtinOptions
    if weights is not None:
        for kind, faulty in weight_faults(weights, channels, seed):
            yield kind, _constant(1, faulty)
    if bias is not None:
        for kind, faulty in bias_faults(bias, seed):
            yield kind, _constant(2, faulty)
    for other in _OTHER_ACTIVATIONS[options.fusedActivationFunction]:
        yield Kind.ACTIVATION, _setting(fusedActivationFunction=other)
    if weights is None or weights.ndim != 4:
        return
    yield Kind.STRIDE, _setting(strideH=3 - options.strideH, strideW=3 - options.strideW)
    _, height, width, _ = weights.shape
    if height * width > 1:
        yield Kind.PADDING, _setting(padding=1 - options.padding)
        yield Kind.KERNEL_AXES, _constant(1, np.ascontiguousarray(weights.swapaxes(1, 2)))
        yield Kind.DILATION, _setting(dilationHFactor=2, dilationWFactor=2)


def _of_arithmetic(
    model: Model, operator: Any, name: str, seed: str
) -> Iterator[tuple[Kind, Edit]]:
    values = [model.constant(operator, index) for index in (0, 1)]
    for index, value in enumerate(values):
        if value is None or not value.any():
            continue
        if value.size == 1 and abs(value.item()) < _EPSILON:
            for kind, faulty in epsilon_faults(value):
                yield kind, _constant(index, faulty)
        else:
            kind = Kind.CONSTANT if value.size == 1 else Kind.TABLE_VALUE
            yield kind, _constant(index, off(value, seed))
    if name in ("SUB", "DIV"):
        yield Kind.OPERAND_ORDER, _in_other_order
    left, right = (model.shape(index) for index in operator.inputs)
    if left == right and not any(value is not None for value in values):
        yield Kind.OPERAND_REPEATED, _repeated(0, 1)
        yield Kind.OPERAND_REPEATED, _repeated(1, 0)
        if name == "ADD":
            yield Kind.OPERATOR, lambda model, operator: model.rename(operator, "SUB")


def _of_indices(model: Model, operator: Any, name: str) -> Iterator[tuple[Kind, Edit]]:
    shape, indices = model.shape(operator.inputs[0]), model.constant(operator, 1)
    assert indices is not None
    if name in ("MEAN", "SUM"):
        axes = other_axes(indices.tolist(), shape)
        if axes is not None:
            yield Kind.REDUCTION, _constant(1, np.array(axes, np.int32))
    if name == "TRANSPOSE":
        order = swapped_axes(indices.tolist(), shape)
        if order is not None:
            yield Kind.TRANSPOSE, _constant(1, np.array(order, np.int32))
    if name == "SLICE":
        room = np.array(shape) - model.shape(operator.outputs[0])
        shifted = np.where(indices < room, indices + 1, indices - (room > 0))
        yield Kind.SLICE, _constant(1, shifted.astype(np.int32))
    if name == "PAD":
        yield Kind.PADDING, _constant(1, indices + np.sign(indices) * np.array([-1, 1], np.int32))
