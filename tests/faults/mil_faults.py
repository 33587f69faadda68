"""Single faults in a CoreML package: in its program's protobuf, or in its weight file."""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters.runtimes.mil.package import open_package
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

Edit = Callable[["Package", Any], None]  # of the package, at one of its operations

_FOLDER = Path("Data", "com.apple.CoreML")
_FIELDS = {"floats": np.float32, "ints": np.int32, "bools": np.bool_}
_OTHER_OPERATORS = {
    "silu": (("sigmoid", Kind.ACTIVATION),),
    "relu": (("relu6", Kind.ACTIVATION), ("silu", Kind.ACTIVATION)),
    "sigmoid": (("tanh", Kind.ACTIVATION),),
    "reduce_mean": (("reduce_sum", Kind.REDUCTION),),
    "reduce_l2_norm": (("reduce_l1_norm", Kind.REDUCTION),),
    "maximum": (("minimum", Kind.OPERATOR),),
}
_ARITHMETIC = ("add", "sub", "mul", "real_div", "maximum")
_NORMS = ("layer_norm", "batch_norm")


class Package:
    """A package with one function, whose weights are all in one file."""

    def __init__(self, folder: Path) -> None:
        self._package = open_package(folder)
        self._model = self._package.model
        function = next(iter(self._model.mlProgram.functions.values()))
        block = function.block_specializations[function.opset]
        self.operations = block.operations
        self._constants, self._shapes = {}, {}
        for operation in self.operations:
            for output in operation.outputs:
                self._shapes[output.name] = _dimensions(output.type)
            if operation.type == "const":
                self._constants[operation.outputs[0].name] = operation.attributes["val"]
        for feature in self._model.description.input:
            self._shapes[feature.name] = tuple(feature.type.multiArrayType.shape)
        self._weights: tuple[int, bytes] | None = None  # what to write into the weight file, where

    def write(self, folder: Path) -> None:
        shutil.copytree(self._package.path, folder)
        (folder / _FOLDER / "model.mlmodel").write_bytes(self._model.SerializeToString())
        if self._weights is not None:
            start, data = self._weights
            with (folder / _FOLDER / "weights" / "weight.bin").open("r+b") as file:
                file.seek(start)
                file.write(data)

    def names(self, operation: Any, parameter: str) -> list[str]:
        """The variables that an operation has for a parameter."""
        return [argument.name for argument in operation.inputs[parameter].arguments]

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def constant(self, operation: Any, parameter: str) -> Array | None:
        """A parameter's value, if it is a constant of numbers or truth values."""
        if parameter not in operation.inputs:
            return None
        value = self._constants.get(self.names(operation, parameter)[0])
        if value is None:
            return None
        shape = _dimensions(value.type)
        if value.HasField("blobFileValue"):
            stored = value.blobFileValue
            blob = self._package.blob(stored.fileName, stored.offset)
            return np.frombuffer(blob.data, np.float32).reshape(shape)
        tensor = value.immediateValue.tensor
        field = tensor.WhichOneof("value")
        if field not in _FIELDS:
            return None
        return np.array(getattr(tensor, field).values, _FIELDS[field]).reshape(shape)

    def replace(self, operation: Any, parameter: str, value: Array | str) -> None:
        """Gives one operation another constant; those that shared the old one keep it.

        But what is in the weight file is changed there, for all that read it.
        """
        (argument,) = operation.inputs[parameter].arguments
        old = self._constants[argument.name]
        if old.HasField("blobFileValue"):
            offset = old.blobFileValue.offset
            data = (self._package.path / _FOLDER / "weights" / "weight.bin").read_bytes()
            (start,) = struct.unpack_from("<Q", data, offset + 16)  # behind sentinel, type and size
            self._weights = start, np.asarray(value, np.float32).tobytes()
            return
        argument.value.CopyFrom(old)
        tensor = argument.value.immediateValue.tensor
        values = getattr(tensor, tensor.WhichOneof("value")).values
        del values[:]
        values.extend([value] if isinstance(value, str) else np.ravel(value).tolist())


def _dimensions(value_type: Any) -> tuple[int, ...]:
    return tuple(d.constant.size for d in value_type.tensorType.dimensions)


def faults(folder: Path) -> list[Fault]:
    """All single faults of the vocabulary that this package has a place for."""
    package = Package(folder)
    found = []
    for number, operation in enumerate(package.operations):
        if operation.type == "const":
            continue
        place = f"{folder.stem} {operation.type} {operation.outputs[0].name}"
        for kind, edit in _edits(package, operation, place):
            found.append(Fault(kind, place, _writer(folder, number, edit)))
    return found


def _writer(folder: Path, number: int, edit: Edit) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        package = Package(folder)
        edit(package, package.operations[number])
        package.write(path)

    return write


def _edits(package: Package, operation: Any, seed: str) -> Iterator[tuple[Kind, Edit]]:
    name = operation.type
    if name in ("conv", "linear"):
        yield from _of_layer(package, operation, seed)
    if name in _NORMS:
        yield from _of_norm(package, operation, seed)
    if name in _ARITHMETIC:
        yield from _of_arithmetic(package, operation, seed)
    if name in ("transpose", "softmax", "concat", "split") or name.startswith("reduce_"):
        yield from _of_axes(package, operation, name)
    for other, kind in _OTHER_OPERATORS.get(name, ()):
        yield kind, _renamed(other)
    if name == "gelu":
        yield Kind.GELU_MODE, _constant("mode", "TANH_APPROXIMATION")
    if name == "matmul":
        for parameter in ("transpose_x", "transpose_y"):
            flag = package.constant(operation, parameter)
            assert flag is not None
            yield Kind.MATMUL, _constant(parameter, ~flag)


def _constant(parameter: str, value: Array | str) -> Edit:
    def edit(package: Package, operation: Any) -> None:
        package.replace(operation, parameter, value)

    return edit


def _renamed(other: str) -> Edit:
    def edit(package: Package, operation: Any) -> None:
        operation.type = other

    return edit


def _of_layer(package: Package, operation: Any, seed: str) -> Iterator[tuple[Kind, Edit]]:
    weights, bias = package.constant(operation, "weight"), package.constant(operation, "bias")
    assert weights is not None
    for kind, faulty in weight_faults(weights, 0, seed):
        yield kind, _constant("weight", faulty)
    if bias is not None:
        for kind, faulty in bias_faults(bias, seed):
            yield kind, _constant("bias", faulty)
    if operation.type == "linear":
        return
    strides = package.constant(operation, "strides")
    assert strides is not None
    yield Kind.STRIDE, _constant("strides", 3 - strides)
    if weights[0, 0].size > 1:
        yield Kind.KERNEL_AXES, _constant("weight", np.ascontiguousarray(weights.swapaxes(2, 3)))
        pads = package.constant(operation, "pad")
        assert pads is not None
        yield Kind.DILATION, _dilated(2 * pads)  # the shape stays
        if pads.any():
            # All of the padding on one side: the shape stays.
            yield Kind.PADDING, _constant("pad", pads * np.array([0, 2, 0, 2], np.int32))
            yield Kind.PADDING, _constant("pad_type", "same")
            yield Kind.PADDING, _constant("pad_type", "valid")


def _dilated(pads: Array) -> Edit:
    def edit(package: Package, operation: Any) -> None:
        package.replace(operation, "dilations", np.array([2, 2], np.int32))
        package.replace(operation, "pad", pads)

    return edit


def _of_norm(package: Package, operation: Any, seed: str) -> Iterator[tuple[Kind, Edit]]:
    for parameter in ("gamma", "beta", "mean", "variance"):
        value = package.constant(operation, parameter)
        if value is not None:
            yield Kind.TABLE_VALUE, _constant(parameter, off(value, seed + parameter))
    epsilon = package.constant(operation, "epsilon")
    assert epsilon is not None
    for kind, faulty in epsilon_faults(epsilon):
        yield kind, _constant("epsilon", faulty)


def _of_arithmetic(package: Package, operation: Any, seed: str) -> Iterator[tuple[Kind, Edit]]:
    constants = [package.constant(operation, parameter) for parameter in ("x", "y")]
    for parameter, value in zip(("x", "y"), constants, strict=True):
        if value is not None and value.any():
            kind = Kind.CONSTANT if value.size == 1 else Kind.TABLE_VALUE
            yield kind, _constant(parameter, off(value, seed))
    (left,), (right,) = package.names(operation, "x"), package.names(operation, "y")

    def operands(x: str, y: str) -> Edit:
        def edit(package: Package, operation: Any) -> None:
            operation.inputs["x"].arguments[0].name = x
            operation.inputs["y"].arguments[0].name = y

        return edit

    if operation.type in ("sub", "real_div"):
        yield Kind.OPERAND_ORDER, operands(right, left)
    if package.shape(left) == package.shape(right):
        yield Kind.OPERAND_REPEATED, operands(left, left)
        yield Kind.OPERAND_REPEATED, operands(right, right)
        if operation.type == "add":
            yield Kind.OPERATOR, _renamed("sub")


def _of_axes(package: Package, operation: Any, name: str) -> Iterator[tuple[Kind, Edit]]:
    operand = package.names(operation, "values" if name == "concat" else "x")[0]
    shape = package.shape(operand)
    if name == "transpose":
        perm = package.constant(operation, "perm")
        assert perm is not None
        order = swapped_axes(perm.tolist(), shape)
        if order is not None:
            yield Kind.TRANSPOSE, _constant("perm", np.array(order, np.int32))
    if name.startswith("reduce_"):
        axes = package.constant(operation, "axes")
        assert axes is not None
        others = other_axes(axes.tolist(), shape)
        if others is not None:
            yield Kind.REDUCTION, _constant("axes", np.array(others, np.int32))
    if name in ("softmax", "concat"):
        axis = package.constant(operation, "axis")
        assert axis is not None
        here = int(axis) % len(shape)
        others = tuple(i for i in range(len(shape)) if i != here and shape[i] > 1)
        if others:
            other = np.array(random.Random(operand).choice(others), np.int32)
            kind = Kind.SOFTMAX if name == "softmax" else Kind.CONCAT_AXIS
            yield kind, _constant("axis", other)
    if name == "concat":
        yield Kind.CONCAT_ORDER, _reversed_operands
    if name == "split":
        shapes = [package.shape(output.name) for output in operation.outputs]
        if shapes[0] == shapes[1]:
            yield Kind.SLICE, _swapped_results


def _reversed_operands(package: Package, operation: Any) -> None:
    names = package.names(operation, "values")
    for argument, name in zip(operation.inputs["values"].arguments, reversed(names), strict=True):
        argument.name = name


def _swapped_results(package: Package, operation: Any) -> None:
    first, second = operation.outputs[:2]
    first.name, second.name = second.name, first.name
