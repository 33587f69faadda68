"""Single faults for the fp16 package of `networks.Kinds`, each a change of one thing.

The keys say what was done; the values are the change and the operator that must be named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.converters.twin.editing import Editor

Change = Callable[[Editor], None]


def number(type_: str, parameter: str, *values: Any, which: int = 0) -> Change:
    """Other integers, truth values or text."""

    def change(editor: Editor) -> None:
        value = editor.constant(editor.op(type_, which), parameter)
        tensor = value.immediateValue.tensor
        field = getattr(tensor, tensor.WhichOneof("value"))
        assert list(field.values) != list(values)
        del field.values[:]
        field.values.extend(values)

    return change


def half(type_: str, parameter: str, to: float, which: int = 0) -> Change:
    """Another fp16 scalar."""

    def change(editor: Editor) -> None:
        operation = editor.op(type_, which)
        assert editor.array(operation, parameter) != np.float16(to)
        editor.store(operation, parameter, np.array(to, np.float16))

    return change


def weight(type_: str, parameter: str, spoil: Callable[[Any], Any], which: int = 0) -> Change:
    """Other weights; `spoil` gets a copy of the array and returns what is stored."""

    def change(editor: Editor) -> None:
        operation = editor.op(type_, which)
        array = editor.array(operation, parameter)
        spoiled = spoil(array.copy())
        assert array.tobytes() != spoiled.tobytes()
        editor.store(operation, parameter, spoiled)

    return change


def next_up(array: Any) -> Any:
    """The last value off by one unit in the last place."""
    array.flat[-1] = np.nextafter(array.flat[-1], np.float16(np.inf))
    return array


def set_to(value: float) -> Callable[[Any], Any]:
    def spoil(array: Any) -> Any:
        array.flat[0] = value
        return array

    return spoil


def swapped(type_: str, which: int = 0) -> Change:
    """The operands x and y in the other order."""

    def change(editor: Editor) -> None:
        inputs = editor.op(type_, which).inputs
        x, y = inputs["x"].arguments[0].name, inputs["y"].arguments[0].name
        inputs["x"].arguments[0].name, inputs["y"].arguments[0].name = y, x

    return change


def reads(type_: str, parameter: str, other: str, which: int = 0) -> Change:
    """Reads the result of the first operator of type `other` instead."""

    def change(editor: Editor) -> None:
        name = editor.op(other).outputs[0].name
        binding = editor.op(type_, which).inputs[parameter].arguments[0]
        assert binding.name != name
        binding.name = name

    return change


def other_type(type_: str, to: str, which: int = 0, without: tuple[str, ...] = ()) -> Change:
    def change(editor: Editor) -> None:
        operation = editor.op(type_, which)
        operation.type = to
        for parameter in without:
            del operation.inputs[parameter]

    return change


def dropped(type_: str, which: int = 0, parameter: str = "x") -> Change:
    """Its readers read what it read."""

    def change(editor: Editor) -> None:
        operation = editor.op(type_, which)
        before = operation.inputs[parameter].arguments[0].name
        for binding in editor.readers(operation.outputs[0].name):
            binding.name = before
        editor.block.operations.remove(operation)

    return change


def added(like: str, behind: str, which: int = 0) -> Change:
    """A copy of an operator behind another one, all of whose readers read the copy."""

    def change(editor: Editor) -> None:
        before = editor.op(behind, which).outputs[0]
        readers = editor.readers(before.name)
        position = list(editor.block.operations).index(editor.op(behind, which)) + 1
        rest = list(editor.block.operations)[position:]
        del editor.block.operations[position:]
        copy = editor.block.operations.add()
        copy.CopyFrom(next(one for one in [*editor.block.operations, *rest] if one.type == like))
        copy.inputs["x"].arguments[0].name = before.name
        copy.outputs[0].CopyFrom(before)
        copy.outputs[0].name = "one_more"
        for binding in readers:
            binding.name = "one_more"
        editor.block.operations.extend(rest)

    return change


def through_integers(editor: Editor) -> None:
    """A cast to int32 and back, which cuts off the fractions."""
    clip = editor.op("clip")
    cast = editor.op("cast")
    name = clip.outputs[0].name
    readers = editor.readers(name)
    rest = list(editor.block.operations)
    position = rest.index(clip) + 1
    rest = rest[position:]
    del editor.block.operations[position:]
    for dtype, code, output in (("int32", 23, "whole"), ("fp16", 10, "back")):
        copy = editor.block.operations.add()
        copy.CopyFrom(cast)
        copy.inputs["x"].arguments[0].name = name
        editor.constant(copy, "dtype").immediateValue.tensor.strings.values[0] = dtype
        copy.outputs[0].CopyFrom(clip.outputs[0])
        copy.outputs[0].name = name = output
        copy.outputs[0].type.tensorType.dataType = code
    for binding in readers:
        binding.name = name
    editor.block.operations.extend(rest)


def swapped_weights(editor: Editor) -> None:
    """The weights of queries and keys in each other's place."""
    q, k = (editor.op("linear", which).inputs["weight"].arguments[0] for which in (0, 1))
    q.name, k.name = k.name, q.name


def swapped_order(editor: Editor) -> None:
    values = editor.op("concat").inputs["values"].arguments
    values[0].name, values[1].name = values[1].name, values[0].name


def swapped_halves(editor: Editor) -> None:
    first, second = editor.op("split").outputs
    first.name, second.name = second.name, first.name


def other_result_shape(editor: Editor) -> None:
    editor.op("reshape").outputs[0].type.tensorType.dimensions[1].constant.size = 4


def other_result_type(editor: Editor) -> None:
    editor.op("softmax").outputs[0].type.tensorType.dataType = 23


def swapped_results(editor: Editor) -> None:
    """The two outputs under each other's name."""
    logits, pooled = (editor.op("cast", which) for which in (-2, -1))
    x, y = logits.inputs["x"].arguments[0], pooled.inputs["x"].arguments[0]
    x.name, y.name = y.name, x.name


def fewer_outputs(editor: Editor) -> None:
    del editor.block.outputs[1:]


def other_opset(editor: Editor) -> None:
    editor.function.block_specializations["CoreML7"].CopyFrom(editor.block)
    del editor.function.block_specializations[editor.function.opset]
    editor.function.opset = "CoreML7"


def other_input(editor: Editor) -> None:
    editor.function.inputs[0].type.tensorType.dimensions[3].constant.size = 32


def described_otherwise(editor: Editor) -> None:
    editor.model.description.output[0].type.multiArrayType.shape[1] = 6


FAULTS: dict[str, tuple[Change, str]] = {
    # constants inside the program
    "stride of the stem": (number("conv", "strides", 1, 1), "conv input_3_cast_fp16"),
    "padding of the stem": (number("conv", "pad", 0, 2, 0, 2), "conv input_3_cast_fp16"),
    "padding by name": (number("conv", "pad_type", "same"), "conv input_3_cast_fp16"),
    "padding by name where it is the same": (number("conv", "pad_type", "custom", which=2), "conv"),
    "dilation": (number("conv", "dilations", 1, 1, which=1), "conv var_45_cast_fp16"),
    "groups": (number("conv", "groups", 4, which=1), "conv var_45_cast_fp16"),
    "slope of the leaky ReLU": (half("leaky_relu", "alpha", 0.1001), "leaky_relu"),
    "GELU by tanh": (number("gelu", "mode", "TANH_APPROXIMATION"), "gelu"),
    "padding counted in the average": (
        number("avg_pool", "exclude_padding_from_average", False), "avg_pool",
    ),
    "average rounded up": (number("avg_pool", "ceil_mode", True), "avg_pool"),
    "window of the average": (number("avg_pool", "kernel_sizes", 3, 5), "avg_pool"),
    "padding of the maximum": (number("max_pool", "pad", 0, 2, 0, 2), "max_pool"),
    "stride of the maximum": (number("max_pool", "strides", 1, 2), "max_pool"),
    "axis of the split": (number("split", "axis", 2), "split"),
    "sizes of the split": (number("split", "split_sizes", 3, 5), "split"),
    "axis of the concatenation": (number("concat", "axis", 2), "concat"),
    "interleaved": (number("concat", "interleave", True), "concat"),
    "order of the reshape": (number("reshape", "shape", 1, 64, 8), "reshape"),
    "order of the axes": (number("transpose", "perm", 0, 1, 2), "transpose"),
    "axes of the first norm": (number("layer_norm", "axes", -2), "layer_norm input_13"),
    "epsilon of the first norm": (half("layer_norm", "epsilon", 1.1e-5), "layer_norm input_13"),
    "epsilon of the fine norm": (half("layer_norm", "epsilon", 1e-5, which=1), "layer_norm var_95"),
    "no epsilon in the fine norm": (
        half("layer_norm", "epsilon", 0.0, which=1), "layer_norm var_95",
    ),
    "keys not transposed": (number("matmul", "transpose_y", False), "matmul var_83"),
    "queries transposed": (number("matmul", "transpose_x", True), "matmul var_83"),
    "scale of the attention": (half("mul", "y", 0.3703), "mul var_85"),
    "axis of the softmax": (number("softmax", "axis", -2), "softmax"),
    "axis of the mean": (number("reduce_mean", "axes", 2), "reduce_mean"),
    "axes kept": (number("reduce_mean", "keep_dims", True), "reduce_mean"),
    "lower bound": (half("clip", "alpha", -2.502), "clip"),
    "upper bound": (half("clip", "beta", np.inf), "clip"),
    # weights
    "a weight of the stem": (weight("conv", "weight", next_up), "conv input_3_cast_fp16"),
    "a bias of the stem": (weight("conv", "bias", next_up), "conv input_3_cast_fp16"),
    "a weight without its sign": (weight("conv", "weight", np.abs, which=1), "conv var_45"),
    "channels in the other order": (
        weight("conv", "weight", lambda w: w[::-1].copy(), which=2), "conv input_9",
    ),
    "an infinite weight": (weight("conv", "weight", set_to(np.inf), which=2), "conv input_9"),
    "no number": (weight("linear", "weight", set_to(np.nan), which=2), "linear linear_2"),
    "a weight of the queries": (weight("linear", "weight", next_up), "linear linear_0"),
    "a bias of the keys": (weight("linear", "bias", next_up, which=1), "linear linear_1"),
    "weights of the values transposed": (
        weight("linear", "weight", lambda w: w.T.copy(), which=2), "linear linear_2",
    ),
    "weights of queries and keys": (swapped_weights, "linear linear_0"),
    "gain of the first norm": (weight("layer_norm", "gamma", next_up), "layer_norm input_13"),
    "bias of the fine norm": (weight("layer_norm", "beta", next_up, which=1), "layer_norm var_95"),
    "the last weight of all": (weight("linear", "weight", next_up, which=3), "linear linear_3"),
    "a factor for each channel": (weight("mul", "y", next_up, which=1), "mul pooled"),
    # the graph
    "operands of the subtraction": (swapped("sub"), "sub"),
    "operands of the product": (swapped("matmul"), "matmul var_83"),
    "operands of the residual": (swapped("add", which=1), "add input_15"),
    "order of the concatenation": (swapped_order, "concat"),
    "halves of the split": (swapped_halves, "concat"),
    "queries for keys": (reads("matmul", "y", "linear"), "matmul var_83"),
    "the shortcut from before": (reads("add", "x", "silu", which=1), "add input_15"),
    "the pool's own input twice": (reads("max_pool", "x", "conv"), "max_pool"),
    "SiLU for ReLU": (other_type("silu", "relu"), "relu"),
    "ReLU for GELU": (other_type("gelu", "relu", without=("mode",)), "relu var_46"),
    "maximum for sum": (other_type("add", "maximum"), "maximum b_3"),
    "no activation": (dropped("leaky_relu"), "leaky_relu"),
    "no SiLU": (dropped("silu"), "silu"),
    "no softmax": (dropped("softmax"), "softmax"),
    "no norm": (dropped("layer_norm"), "layer_norm"),
    "no residual": (dropped("add", which=1), "add"),
    "no factor": (dropped("mul", which=1), "mul"),
    "no clamp": (dropped("clip"), "clip"),
    "a SiLU too many": (added("silu", "sub"), "silu one_more"),
    "a second softmax": (added("softmax", "softmax"), "softmax one_more"),
    "a clamp at the end": (added("clip", "linear", which=3), "clip one_more"),
    "through integers": (through_integers, "cast whole"),
    "another shape declared": (other_result_shape, "reshape"),
    "another type declared": (other_result_type, "softmax"),
    "outputs under each other's name": (swapped_results, ""),
    "an output less": (fewer_outputs, "the program"),
    "another opset": (other_opset, "the program"),
    "another input": (other_input, "the program"),
    "another description": (described_otherwise, "the description"),
}  # fmt: skip
