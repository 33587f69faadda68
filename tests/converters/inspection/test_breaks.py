"""Why operators stand outside: each rule for .tflite files beside the runtime's own plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.inspection.breaks import find_breaks
from converters.inspection.graph import Node, Partition
from converters.inspection.tflite import read_tflite
from converters.inspection.xnnpack_plan import with_xnnpack_partitions
from tests.converters.inspection.handmade_graphs import make_graph, tensor
from tests.converters.inspection.small_tflite import SmallModel, schema

Ends = tuple[Sequence[int], Sequence[int]]
Build = Callable[[SmallModel], Ends]
UNKNOWN = "why is not known"
MENDED = (
    "weights are computed", "dynamic", "activation TANH", "activation SIGN_BIT", "beta is not 1",
)  # fmt: skip


def whole(*values: int) -> Any:
    return np.array(values, np.int32)


def add(dtype: str = "FLOAT32", activation: str = "NONE", rank: int = 2) -> Build:
    def build(model: SmallModel) -> Ends:
        a, b, c = (model.value((1,) * (rank - 1) + (4,), dtype) for _ in range(3))
        fused = getattr(schema.ActivationFunctionType, activation)
        model.operator("ADD", [a, b], [c], "AddOptions", fusedActivationFunction=fused)
        return [a, b], [c]

    return build


def product(stored: bool) -> Build:
    def build(model: SmallModel) -> Ends:
        x, y = model.value((2, 4)), model.value((2, 3))
        weights = model.constant(np.ones((3, 4), np.float32)) if stored else model.value((3, 4))
        bias = model.constant(np.ones(3, np.float32))
        model.operator("FULLY_CONNECTED", [x, weights, bias], [y], "FullyConnectedOptions")
        return [x] if stored else [x, weights], [y]

    return build


def with_parameter(
    kind: str, shape: tuple[int, ...], result: tuple[int, ...], value: Any, stored: bool,
    options: str | None = None, **fields: Any,
) -> Build:  # fmt: skip
    def build(model: SmallModel) -> Ends:
        x, y = model.value(shape), model.value(result)
        other = model.constant(value) if stored else model.value(value.shape, "INT32")
        model.operator(kind, [x, other], [y], options, **fields)
        return [x] if stored else [x, other], [y]

    return build


def joined(count: int) -> Build:
    def build(model: SmallModel) -> Ends:
        parts = [model.value((1, 2)) for _ in range(count)]
        whole_ = model.value((1, 2 * count))
        model.operator("CONCATENATION", parts, [whole_], "ConcatenationOptions", axis=1)
        return parts, [whole_]

    return build


def parted(count: int) -> Build:
    def build(model: SmallModel) -> Ends:
        axis, x = model.constant(np.array(1, np.int32)), model.value((1, 2 * count))
        parts = [model.value((1, 2)) for _ in range(count)]
        model.operator("SPLIT", [axis, x], parts, "SplitOptions", numSplits=count)
        return [x], parts

    return build


def softmax(beta: float) -> Build:
    def build(model: SmallModel) -> Ends:
        x, y = model.value((1, 4)), model.value((1, 4))
        model.operator("SOFTMAX", [x], [y], "SoftmaxOptions", beta=beta)
        return [x], [y]

    return build


def squeeze(model: SmallModel) -> Ends:
    x, y = model.value((1, 4)), model.value((4,))
    model.operator("SQUEEZE", [x], [y], "SqueezeOptions")
    return [x], [y]


def strided(model: SmallModel) -> Ends:
    x, y = model.value((2, 4)), model.value((1, 2))
    ends = [model.constant(whole(*pair)) for pair in ((0, 0), (1, 4), (1, 2))]
    model.operator("STRIDED_SLICE", [x, *ends], [y], "StridedSliceOptions")
    return [x], [y]


mean = ("MEAN", (1, 2, 2, 3), (1, 1, 1, 3), whole(1, 2))
pad = ("PAD", (1, 2), (1, 4), whole(0, 0, 1, 1).reshape(2, 2))
CASES: list[tuple[str, Build, str | None]] = [
    ("add", add(), None),
    ("float16", add("FLOAT16"), None),
    ("int32", add("INT32"), "works on int32"),
    ("int64", add("INT64"), "works on int64"),
    ("relu", add(activation="RELU"), None),
    ("tanh", add(activation="TANH"), "activation TANH"),
    ("sign", add(activation="SIGN_BIT"), "activation SIGN_BIT"),
    ("rank-6", add(rank=6), None),
    ("rank-7", add(rank=7), "rank 7"),
    ("stored-weights", product(True), None),
    ("computed-weights", product(False), "weights are computed"),
    ("reshape", with_parameter("RESHAPE", (2, 3), (3, 2), whole(3, 2), True), None),
    ("reshape-to", with_parameter("RESHAPE", (2, 3), (3, 2), whole(3, 2), False), "dynamic"),
    ("transpose", with_parameter("TRANSPOSE", (2, 3), (3, 2), whole(1, 0), True), None),
    ("transpose-by", with_parameter("TRANSPOSE", (2, 3), (3, 2), whole(1, 0), False), "dynamic"),
    ("mean", with_parameter(*mean, True, "ReducerOptions", keepDims=True), None),
    ("mean-over", with_parameter(*mean, False, "ReducerOptions", keepDims=True), "dynamic"),
    ("pad", with_parameter(*pad, True), None),
    ("pad-by", with_parameter(*pad, False), "dynamic"),
    ("join-5", joined(5), None),
    ("join-6", joined(6), "joins or parts 6"),
    ("part-4", parted(4), None),
    ("part-5", parted(5), "joins or parts 5"),
    ("beta-1", softmax(1.0), None),
    ("beta-2", softmax(2.0), "beta is not 1"),
    ("squeeze", squeeze, "not among the operators"),
    ("stride-2", strided, UNKNOWN),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "build", "reason"), CASES, ids=[name for name, _, _ in CASES])
def test_tflite_rules(name: str, build: Build, reason: str | None, tmp_path: Path) -> None:
    model = SmallModel()
    file = model.save(tmp_path / "model.tflite", *build(model))
    graph = with_xnnpack_partitions(read_tflite(file), file)
    assert graph.notes == ()
    breaks = find_breaks(graph)
    if reason is None:
        assert breaks == () and graph.partition_sizes() == (1,)
    else:
        (one,) = breaks
        assert (one.count, one.nodes) == (1, (0,)) and reason in one.reason
        assert (one.mend is not None) == (reason in MENDED)


def test_what_is_alike_counts_together_and_the_unused_is_said() -> None:
    nodes = [
        Node("ARG_MAX", (0,), (1,)),
        Node("ARG_MAX", (0,), (2,)),
        Node("SQUEEZE", (0,), (3,)),
        Node("RELU", (0,), (4,), partition=0),
        Node("WHILE", (0,), (5,), scope="body"),
    ]
    graph = make_graph(nodes, [tensor()] * 6, (1, 2, 4), partitions=(Partition("XNNPACK"),))
    one, other = find_breaks(graph)
    assert (one.operator, one.count, one.nodes) == ("ARG_MAX", 2, (0, 1))
    assert other.operator == "SQUEEZE" and "nothing reads its results" in other.reason
    assert find_breaks(make_graph(nodes, [tensor()] * 6, (1,))) == ()  # no plan is known


@pytest.mark.parametrize(
    ("operator", "shape", "dtype", "reason"),
    [
        ("aten::native_layer_norm.out", (1, 4), "float32", "layer normalisation"),
        ("aten::mean.out", (1, 4), "float32", "last two axes"),
        ("aten::mul.Scalar_out", (1, 4), "float32", "multiplies by a number"),
        ("aten::eq.Scalar_out", (1, 4), "float32", "safe softmax"),
        ("aten::expand_copy.out", (1, 4), "float32", "change of shape"),
        ("aten::argmax.out", (1, 4), "int64", "works on int64"),
        ("aten::erf.out", (1, 4), "float32", UNKNOWN),
    ],
)
def test_executorch_rules(operator: str, shape: tuple[int, ...], dtype: str, reason: str) -> None:
    nodes = [Node("Add", (0,), (1,), partition=0), Node(operator, (1,), (2,))]
    tensors = [tensor(), tensor(), tensor(shape=shape, dtype=dtype)]
    fields: dict[str, Any] = {"format": "ExecuTorch", "partitions": (Partition("XnnpackBackend"),)}
    (one,) = find_breaks(make_graph(nodes, tensors, (2,), **fields))
    assert reason in one.reason
    constant = tensor(constant=True)
    (one,) = find_breaks(make_graph(nodes, [tensor(), constant, tensor()], (2,), **fields))
    assert "constants only" in one.reason and one.mend is not None


def test_a_file_for_the_portable_kernels_has_no_breaks() -> None:
    graph = make_graph(
        [Node("aten::add.out", (0,), (1,))], [tensor()] * 2, (1,),
        format="ExecuTorch", partitions=(),
    )  # fmt: skip
    assert find_breaks(graph) == () and graph.outside() == {"aten::add.out": 1}


def test_another_delegate_is_not_explained() -> None:
    nodes = [Node("conv", (0,), (1,), partition=0), Node("aten::erf.out", (1,), (2,))]
    fields: dict[str, Any] = {"format": "ExecuTorch", "partitions": (Partition("CoreMLBackend"),)}
    (one,) = find_breaks(make_graph(nodes, [tensor()] * 3, (2,), **fields))
    assert (one.operator, one.mend) == ("aten::erf.out", None) and UNKNOWN in one.reason
