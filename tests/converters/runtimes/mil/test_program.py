"""Programs as data: what the protobuf message says, nothing lost and nothing computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.errors import ArtifactError
from converters.runtimes.mil.package import open_package
from converters.runtimes.mil.program import (
    BlobReference,
    ListType,
    Operation,
    Program,
    StateType,
    Value,
    ValueType,
    read_program,
)
from tests.converters.handmade import assert_one_line
from tests.converters.runtimes.mil.programs import (
    ct,
    edit,
    main_block,
    mb,
    normal,
    save_program,
    types,
)


def read(path: Path) -> Program:
    return read_program(open_package(path))


def operations(path: Path) -> dict[str, Operation]:
    return {one.name: one for one in read(path).functions["main"].block.walk()}


def test_a_function(small_package: Path) -> None:
    (function,) = read(small_package).functions.values()
    assert (function.name, function.opset) == ("main", "CoreML6")
    assert [(v.name, v.type) for v in function.inputs] == [("x", ValueType("fp32", (2, 64)))]
    assert function.block.outputs == ("out",)
    kinds = [one.type for one in function.block.operations]
    assert kinds == ["const", "const", "linear", "relu"]
    linear = function.block.operations[2]
    assert linear.name == "product" and linear.inputs["x"] == ("x",)
    assert linear.outputs[0].type == ValueType("fp32", (2, 4))


def test_constants(small_package: Path) -> None:
    weight = operations(small_package)["product_weight_0"].attributes["val"]
    assert weight.blob == BlobReference("@model_path/weights/weight.bin", 64)
    assert weight.stored_bytes == 4 * 64 * 4
    np.testing.assert_array_equal(weight.read(), normal(4, 64))
    name = operations(small_package)["product"].attributes["name"]
    assert (name.read(), name.blob, name.stored_bytes) == ("product", None, 0)


IMMEDIATE: dict[str, Any] = {
    "fp16": np.array([1.5, -65504, 6e-8], np.float16),
    "fp32": np.array([[1.5, -1e9]], np.float32),
    "int32": np.array([-(2**31), 7], np.int32),
    "int8": np.array([-128, 127], np.int8),
    "uint8": np.array([0, 255], np.uint8),
    "int16": np.array([-32768, 5], np.int16),
    "uint16": np.array([0, 65535], np.uint16),
    "bool": np.array([True, False, True]),
    "scalar": np.float32(0.1),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("name", IMMEDIATE)
def test_immediate_values(name: str, tmp_path: Path) -> None:
    value = IMMEDIATE[name]
    path = save_program(
        lambda x: mb.cast(x=mb.const(val=value, name="kept"), dtype="int32"),
        {"x": ((2,), "fp32")},
        tmp_path / "const.mlpackage", ct.target.iOS17,
    )  # fmt: skip
    constant = operations(path)["kept"].attributes["val"]
    assert constant.blob is None
    content = constant.read()
    assert isinstance(content, np.ndarray)
    assert content.dtype == np.asarray(value).dtype and content.shape == np.shape(value)
    np.testing.assert_array_equal(content, value)


def test_lists_states_and_inner_blocks(tmp_path: Path) -> None:
    def build(x: Any, s: Any) -> Any:
        ls = mb.make_list(init_length=3, dynamic_length=False, elem_shape=(2,), dtype="fp16")
        held = mb.list_write(ls=ls, index=0, value=x, name="written")
        y = mb.cond(
            pred=True,
            _true_fn=lambda: mb.add(x=x, y=mb.read_state(input=s), name="inner"),
            _false_fn=lambda: mb.relu(x=x),
            name="outer",
        )
        return mb.add(x=y, y=mb.list_read(ls=held, index=0))

    state = mb.StateTensorSpec((2,), dtype=types.fp16)
    path = save_program(
        build, {"x": ((2,), "fp16"), "s": state}, tmp_path / "p.mlpackage", ct.target.iOS18
    )
    function = read(path).functions["main"]
    pair = ValueType("fp16", (2,))
    assert {v.name: v.type for v in function.inputs} == {"x": pair, "s": StateType(pair)}
    found = operations(path)
    assert found["written"].outputs[0].type == ListType(pair, 3)
    assert [len(block.operations) for block in found["outer"].blocks] == [2, 1]
    order = list(found)
    assert order.index("inner") < order.index("outer")
    assert read(path).operators("main")["add"] == 2


def test_sizes_that_are_not_known(tmp_path: Path) -> None:
    free = (ct.RangeDim(1, 8, symbol="n").symbol, 3)
    shapes = [ct.TensorType(name="x", shape=(ct.RangeDim(1, 8, default=2), 3))]
    path = save_program(
        lambda x: mb.relu(x=x, name="out"), {"x": (free, "fp32")}, tmp_path / "p.mlpackage",
        ports=shapes,
    )  # fmt: skip
    assert operations(path)["out"].outputs[0].type == ValueType("fp32", (None, 3))


def first_constant(model: Any) -> Any:
    return main_block(model).operations[0].attributes["val"]


def with_ints(model: Any) -> None:
    first_constant(model).ClearField("blobFileValue")
    first_constant(model).immediateValue.tensor.ints.values[:] = [1] * 256


DAMAGE: dict[str, tuple[Callable[[Any], object], str]] = {
    "no function": (lambda m: m.mlProgram.functions.clear(), "has no function"),
    "no block": (
        lambda m: m.mlProgram.functions["main"].block_specializations.clear(),
        "function main has no block for its opset",
    ),
    "type": (
        lambda m: setattr(first_constant(m).type.tensorType, "dataType", 77),
        "a value has the unknown type 77",
    ),
    "no type": (lambda m: first_constant(m).ClearField("type"), "a value has no type"),
    "rank": (
        lambda m: setattr(
            first_constant(m).type.tensorType.dimensions[0].unknown, "variadic", True
        ),
        "a value has no fixed rank",
    ),
    "no model": (lambda m: m.ClearField("mlProgram"), "is a model without content, no mlProgram"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_programs(name: str, small_package: Path) -> None:
    change, said = DAMAGE[name]
    with pytest.raises(ArtifactError, match=said) as caught:
        read(edit(small_package, change))
    assert_one_line(caught.value, str(small_package))


def shape(*sizes: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        dimensions = first_constant(model).type.tensorType.dimensions
        del dimensions[:]
        for size in sizes:
            dimensions.add().constant.size = size

    return change


CONSTANT_DAMAGE: dict[str, tuple[Callable[[Any], object], str]] = {
    "another shape": (shape(4, 65), "1024 bytes for 260 values of type fp32"),
    "huge shape": (shape(2**40, 2**40), "1024 bytes for"),
    "empty shape": (shape(0), "1024 bytes for 0 values"),
    "another type": (
        lambda m: setattr(first_constant(m).type.tensorType, "dataType", 10),
        "fp32 is stored where fp16 is declared",
    ),
    "offset": (lambda m: setattr(first_constant(m).blobFileValue, "offset", 2**62), "no blob"),
    "nothing": (lambda m: first_constant(m).ClearField("blobFileValue"), "0 values for the shape"),
    "integers": (with_ints, "ints where fp32 is declared"),
}


@pytest.mark.parametrize("name", CONSTANT_DAMAGE)
def test_damaged_constants(name: str, small_package: Path) -> None:
    change, said = CONSTANT_DAMAGE[name]
    constant = operations(edit(small_package, change))["product_weight_0"].attributes["val"]
    with pytest.raises(ArtifactError, match=said) as caught:
        constant.read()
    assert_one_line(caught.value, str(small_package))


def test_a_value_shows_where_it_is_stored(small_package: Path) -> None:
    value = operations(small_package)["product_weight_0"].attributes["val"]
    assert isinstance(value, Value) and "offset=64" in repr(value)
