"""Single faults in a .pte file: numbers and weights overwritten where they stand.

Faults go into the graphs in the payloads of XNNPACK's delegates and into the arguments of the
kernels outside them. A FlatBuffer does not store a field that is zero, so that a zero cannot be
overwritten: a ReLU, which is a clamp from 0, cannot be dropped here, only be cut off above.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.formats.flatbuffer import Record, Schema, read_flatbuffer
from converters.formats.pte import (
    Blob,
    Delegate,
    Instruction,
    List,
    Method,
    Number,
    PteProgram,
    Tensor,
    read_pte,
    vendor_schema,
)
from converters.formats.xnnpack import BACKEND, XnnGraph, XnnNode, read_xnnpack
from tests.faults.mutations import (
    Array,
    Fault,
    Kind,
    bias_faults,
    off,
    other_axes,
    swapped_axes,
    weight_faults,
)

Patch = tuple[int, bytes]  # a position in the file, and what to write there
Found = Iterator[tuple[Kind, list[Patch]]]

_LAYERS = {"Conv2d": 0, "FullyConnected": 0, "DepthwiseConv2d": 3}  # axis of the channels
_OTHER_TYPES = {
    "Sigmoid": ("Tanh", Kind.ACTIVATION), "Gelu": ("Hardswish", Kind.ACTIVATION),
    "Clamp": ("Copy", Kind.ACTIVATION), "Softmax": ("Sigmoid", Kind.OPERATOR),
    "Sin": ("Cos", Kind.OPERATOR), "Cos": ("Sin", Kind.OPERATOR),
    "Add": ("Subtract", Kind.OPERATOR), "Div": ("Multiply", Kind.OPERATOR),
}  # fmt: skip
_SIDES = {"padding_top": 1, "padding_bottom": -1, "padding_left": 1, "padding_right": -1}


@dataclass(frozen=True)
class _Node:
    """A node of a delegate, with where its type and the ids of its operands stand."""

    node: XnnNode
    graph: XnnGraph
    types: Sequence[str]  # from 1
    type_place: int
    id_places: dict[str, int]

    @property
    def attributes(self) -> Mapping[str, Any]:
        return self.node.attributes

    def shape(self, operand: str) -> tuple[int, ...]:
        return self.graph.tensors[self.node.operands[operand]].shape

    def constant(self, operand: str) -> tuple[Blob, Array] | None:
        if operand not in self.node.operands:
            return None
        tensor = self.graph.tensors[self.node.operands[operand]]
        if tensor.constant is None:
            return None
        data = np.frombuffer(tensor.constant.data, np.float32)
        return tensor.constant, data.reshape(tensor.shape)

    def setting(self, **values: int | float) -> list[Patch]:
        """Other values of attributes, all of which are stored."""
        found = []
        for name, value in values.items():
            is_float = isinstance(self.attributes[name], float)
            found.append((self.node.places[name], struct.pack("<f" if is_float else "<I", value)))
        return found


def faults(file: Path) -> list[Fault]:
    """All single faults of the vocabulary that this file has a place for."""
    program = read_pte(file)
    method = program.method()
    schema = vendor_schema("backends/xnnpack/serialization/schema.fbs")
    found = []
    for number, delegate in enumerate(method.delegates):
        assert delegate.backend == BACKEND
        for i, node in enumerate(_nodes(program, delegate, schema)):
            place = f"{file.stem} {node.node.type} {i} of delegate {number}"
            for kind, patches in _of_node(node, place):
                found.append(Fault(kind, place, _writer(file, patches)))
    for number, step in enumerate(method.instructions):
        if step.kind == "kernel":
            place = f"{file.stem} {step.name} at step {number}"
            for kind, patches in _of_kernel(method, step, place):
                found.append(Fault(kind, place, _writer(file, patches)))
    return found


def _writer(file: Path, patches: Sequence[Patch]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        data = bytearray(file.read_bytes())
        for place, new in patches:
            data[place : place + len(new)] = new
        path.write_bytes(data)

    return write


def _nodes(program: PteProgram, delegate: Delegate, schema: Schema) -> Iterator[_Node]:
    graph = read_xnnpack(program, delegate)
    data = delegate.payload.data
    start, size = (int.from_bytes(data[i : i + 4], "little") for i in (10, 14))
    record = read_flatbuffer(schema, "XNNGraph", data[start : start + size])
    types = [name.removeprefix("XNN") for name, _ in schema.unions["XNodeUnion"]]
    base = delegate.payload.start + start
    for node, entry in zip(graph.nodes, record["xnodes"], strict=True):
        yield _Node(
            node,
            graph,
            types,
            base + entry.places["xnode_union_type"],
            _id_places(entry["xnode_union"], base),
        )


def _id_places(record: Record, base: int) -> dict[str, int]:
    return {
        name.removesuffix("_id"): base + place
        for name, place in record.places.items()
        if name.endswith("_id")
    }


def _of_node(one: _Node, seed: str) -> Found:
    node = one.node
    if node.type in _LAYERS:
        yield from _of_layer(one, _LAYERS[node.type], seed)
    if node.type in _OTHER_TYPES:
        other, kind = _OTHER_TYPES[node.type]
        yield kind, [(one.type_place, bytes([one.types.index(other) + 1]))]
    if one.attributes.get("output_max") == np.inf:
        yield Kind.ACTIVATION, one.setting(output_max=1.0)
    if "output_min" in node.places and 0 < one.attributes["output_min"] < 1e-3:
        yield Kind.EPSILON_LARGER, one.setting(output_min=10 * one.attributes["output_min"])
        yield Kind.EPSILON_SMALLER, one.setting(output_min=one.attributes["output_min"] / 10)
    if node.type == "StaticTranspose":
        order = swapped_axes(one.attributes["perm"], one.shape("input"))
        if order is not None:
            yield Kind.TRANSPOSE, [_integers(node.places["perm"], order, "<u4")]
    if node.type == "StaticSlice":
        yield from _of_slice(one)
    if node.type.startswith("Concatenate"):
        rank = len(one.shape("input1"))
        yield Kind.CONCAT_AXIS, one.setting(axis=(one.attributes["axis"] - 1) % rank)
        yield from _of_operands(one, Kind.CONCAT_ORDER)
    if node.type in ("Add", "Multiply", "Div"):
        yield from _of_arithmetic(one, seed)


def _integers(place: int, values: Sequence[int], dtype: str) -> Patch:
    return place, np.array(values, dtype).tobytes()


def _of_layer(one: _Node, channels: int, seed: str) -> Found:
    weights, bias = one.constant("filter"), one.constant("bias")
    if bias is not None:
        for kind, faulty in bias_faults(bias[1], seed):
            yield kind, [(bias[0].start, faulty.tobytes())]
    if weights is None:
        return
    blob, values = weights
    for kind, faulty in weight_faults(values, channels, seed):
        yield kind, [(blob.start, faulty.tobytes())]
    if one.node.type == "FullyConnected":
        return
    attributes = one.attributes
    stride = 1 if attributes["subsampling_height"] > 1 else 2
    yield Kind.STRIDE, one.setting(subsampling_height=stride, subsampling_width=stride)
    if attributes["kernel_height"] == 1:
        return
    yield Kind.KERNEL_AXES, [(blob.start, values.swapaxes(1, 2).tobytes())]
    wider = {"dilation_height": 2, "dilation_width": 2}
    if attributes["padding_top"]:
        yield Kind.PADDING, one.setting(**{n: attributes[n] + d for n, d in _SIDES.items()})
        wider |= {name: 2 * attributes[name] for name in _SIDES}  # the shape stays
    yield Kind.DILATION, one.setting(**wider)


def _of_slice(one: _Node) -> Found:
    offsets, sizes = one.attributes["offsets"], one.attributes["sizes"]
    room = [n - size for n, size in zip(one.shape("input"), sizes, strict=True)]
    shifted = [o + 1 if o < left else o - (left > 0) for o, left in zip(offsets, room, strict=True)]
    yield Kind.SLICE, [_integers(one.node.places["offsets"], shifted, "<u4")]


def _of_operands(one: _Node, kind: Kind) -> Found:
    """The first two operands swapped, if both ids are stored."""
    ids, places = one.node.operands, one.id_places
    if {"input1", "input2"} <= set(places):
        swap = zip(("input1", "input2"), ("input2", "input1"), strict=True)
        yield kind, [_integers(places[a], [ids[b]], "<u4") for a, b in swap]


def _of_arithmetic(one: _Node, seed: str) -> Found:
    for operand in ("input1", "input2"):
        constant = one.constant(operand)
        if constant is not None and constant[1].any():
            blob, values = constant
            kind = Kind.CONSTANT if values.size == 1 else Kind.TABLE_VALUE
            yield kind, [(blob.start, off(values, seed).tobytes())]
    if one.node.type == "Div":
        yield from _of_operands(one, Kind.OPERAND_ORDER)
    ids, places = one.node.operands, one.id_places
    if one.shape("input1") == one.shape("input2"):
        for kept, dropped in (("input1", "input2"), ("input2", "input1")):
            if dropped in places:
                yield Kind.OPERAND_REPEATED, [_integers(places[dropped], [ids[kept]], "<u4")]


def _of_kernel(method: Method, step: Instruction, seed: str) -> Found:
    values = [method.values[i] for i in step.arguments]
    operand = values[0]
    if step.name == "aten::native_layer_norm.out":
        for value in values[2:4]:
            assert isinstance(value, Tensor) and value.constant is not None
            data = np.frombuffer(value.constant.data, np.float32, value.size // 4)
            start = value.constant.start
            yield Kind.TABLE_VALUE, [(start, off(data, seed).tobytes())]
        epsilon = values[4]
        assert isinstance(epsilon, Number)
        yield Kind.EPSILON_LARGER, [_double(epsilon, epsilon.value * 10)]
        yield Kind.EPSILON_SMALLER, [_double(epsilon, epsilon.value / 10)]
    if step.name in ("aten::mul.Scalar_out", "aten::pow.Tensor_Scalar_out"):
        scale = values[1]
        assert isinstance(scale, Number)
        yield Kind.CONSTANT, [_double(scale, scale.value * 1.01)]
    if step.name in ("aten::mean.out", "aten::sum.IntList_out"):
        assert isinstance(values[1], List) and isinstance(operand, Tensor)
        numbers: list[Any] = [method.values[int(i)] for i in values[1].items]
        axes = other_axes([number.value for number in numbers], operand.shape)
        if axes is not None and all(number.place is not None for number in numbers):
            pairs = zip(numbers, axes, strict=True)
            yield Kind.REDUCTION, [_integers(number.place, [axis], "<i8") for number, axis in pairs]


def _double(number: Number, value: float) -> Patch:
    assert number.place is not None
    return number.place, struct.pack("<d", value)
