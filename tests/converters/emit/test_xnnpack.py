"""Programs in XNNPACK's delegate: what ExecuTorch's runtime computes, and the nodes it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.emit.pte import emit
from converters.emit.xnnpack import serialise
from converters.formats.pte import read_pte
from converters.formats.xnnpack import XnnGraph, read_xnnpack
from converters.lowering.program import NotCovered, Operation, Program, Tensor
from converters.runtimes.base import SessionRequest, run_file
from converters.runtimes.executorch import open_session
from tests.converters.emit.programs import CASES, Array, given, run, single, weights

REFUSED = {"cast uint8", "cast int32", "cast to int32"}
WINDOW: dict[str, Any] = {"stride": (1, 1), "padding": (0, 0, 0, 0)}


def execute(program: Program, inputs: Mapping[str, Array], folder: Path) -> dict[str, Array]:
    """The outputs by the runtime; the whole has to be one delegate."""
    path = folder / "file.pte"
    path.write_bytes(emit(program))
    names = [tensor.name for tensor in program.inputs]
    session = open_session(SessionRequest(str(path), 1, names, list(program.outputs)))
    summary = session.summary()
    assert (summary.delegate, summary.partitions, summary.outside) == ("XnnpackBackend", 1, {})
    return dict(session.run(inputs))


def assert_close(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        scale = np.abs(value[np.isfinite(value)]).max(initial=0) or 1
        assert found[name].shape == value.shape
        np.testing.assert_allclose(found[name] / scale, value / scale, rtol=0, atol=5e-6)


def assert_right(program: Program, folder: Path) -> None:
    """Random inputs give what torch makes of them."""
    rng = np.random.default_rng(0)
    inputs = {
        tensor.name: np.asarray(rng.standard_normal(tensor.shape), np.float32)
        for tensor in program.inputs
    }
    assert_close(execute(program, inputs, folder), run(program, inputs))


def graph(program: Program, folder: Path) -> XnnGraph:
    path = folder / "file.pte"
    path.write_bytes(emit(program))
    stored = read_pte(path)
    return read_xnnpack(stored, stored.method().delegates[0])


def kinds(program: Program, folder: Path) -> dict[str, int]:
    return dict(Counter(node.type for node in graph(program, folder).nodes))


@pytest.mark.parametrize("name", sorted(CASES.keys() - REFUSED))
def test_results_are_those_of_torch(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    assert_close(execute(case.program, case.inputs(), tmp_path), case.expected())


@pytest.mark.parametrize("rank", range(1, 7))
def test_any_rank_that_xnnpack_has(rank: int, tmp_path: Path) -> None:
    shape = (2, 3, 2, 2, 3, 4)[-rank:]
    x, number = given(*shape), np.array(1.5, np.float32)
    last = (0,) * (rank - 1) + (1,)
    programs = [
        single("softmax", x),
        single("fully_connected", x, weights(5, 4), weights(5)),
        single("multiply", x, number),
        single("slice", x, begin=last, size=(*shape[:-1], 2)),
        single("pad", x, before=(1,) * rank, after=last, value=0.5),
        single("concatenate", x, x, x, axis=0),
        single("concatenate", *[x] * 7, axis=rank - 1),
        single("transpose", x, order=tuple(reversed(range(rank)))),
        single("mean", x, axes=tuple(range(rank))),
        single("mean", x, axes=tuple(range(0, rank, 2))),
    ]
    if rank > 1:
        programs.append(single("mean", x, axes=tuple(range(1, rank, 2))))
        b = given(*shape[:-2], 4, 6), given(*shape[:-2], 6, 4)
        programs += [single("batch_matmul", x, b[i], transpose_b=bool(i)) for i in range(2)]
    for program in programs:
        assert_right(program, tmp_path)


def test_windows_of_any_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        kernel, stride, dilation = (tuple(rng.integers(1, 5, 2).tolist()) for _ in range(3))
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        padding = tuple(int(rng.integers(0, r)) for r in (*reach, *reach))
        x = given(2, *(int(n) for n in rng.integers(reach, 15)), 4)
        window = {"stride": stride, "padding": padding, "dilation": dilation}
        bias = weights(8)
        for program in (
            single("conv2d", x, weights(8, *kernel, 2), bias, groups=2, **window),
            single("depthwise_conv2d", x, weights(1, *kernel, 8), bias, **window),
            single("max_pool2d", x, kernel=kernel, **window),
        ):
            assert_right(program, tmp_path)


def test_average_pools_of_any_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        kernel, stride = (tuple(rng.integers(1, 5, 2).tolist()) for _ in range(2))
        padding = tuple(int(rng.integers(0, k)) for k in (*kernel, *kernel))
        x = given(2, *(int(n) for n in rng.integers(kernel, 12)), 3)
        program = single("average_pool2d", x, kernel=kernel, stride=stride, padding=padding)
        assert_right(program, tmp_path)


@pytest.mark.parametrize(("corners", "centers"), [(True, False), (False, True), (False, False)])
def test_resized_to_any_size(corners: bool, centers: bool, tmp_path: Path) -> None:
    options = {"align_corners": corners, "half_pixel_centers": centers}
    for old in ((4, 6), (5, 5), (7, 2)):
        for new in ((8, 12), (1, 1), old, (3, 17), (1, 5)):
            program = single("resize_bilinear", given(2, *old, 3), size=new, **options)
            assert_right(program, tmp_path)


@pytest.mark.parametrize(
    ("kind", "low", "high", "attributes"),
    [
        ("gelu", -12, 12, {}),
        ("sigmoid", -40, 40, {}),
        ("tanh", -20, 20, {}),
        ("hardswish", -6, 6, {}),
        ("elu", -20, 4, {"alpha": 1.5}),
        ("leaky_relu", -9, 9, {"alpha": -0.25}),
        ("sin", -1000, 1000, {}),
        ("cos", -1000, 1000, {}),
        ("exp", -80, 3, {}),
    ],
)
def test_functions_over_their_range(
    kind: str, low: float, high: float, attributes: dict[str, float], tmp_path: Path
) -> None:
    """The error function's GELU in particular, not its approximation by a tanh (5e-4 off)."""
    inputs = {"x0": np.linspace(low, high, 20001, dtype=np.float32)}
    program = single(kind, given(20001), **attributes)
    found = execute(program, inputs, tmp_path)["y"]
    np.testing.assert_allclose(found, run(program, inputs)["y"], rtol=1e-5, atol=1.5e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv2d relu6", {"Conv2d": 1}),
        ("conv2d groups", {"Conv2d": 1}),
        ("depthwise_conv2d multiplier", {"DepthwiseConv2d": 1}),
        ("fully_connected rank 4", {"FullyConnected": 1}),
        ("batch_matmul transposed", {"BatchMatrixMultiply": 1}),
        ("multiply clamped", {"Multiply": 1}),
        ("clamp 0.0 None", {"Clamp": 1}),
        ("concatenate eight", {"Concatenate5": 1, "Concatenate3": 1, "Concatenate2": 1}),
        ("concatenate one", {"Copy": 1}),
        ("mean (1, 2) of (2, 5, 6, 4)", {"GlobalAvgPooling2d": 1, "Copy": 1}),
        ("mean (3,) of (2, 5, 6, 4)", {"FullyConnected": 1, "Copy": 1}),
        ("mean (1,) of (2, 5, 6)", {"GlobalAvgPooling2d": 1, "StaticReshape": 2, "Copy": 1}),
    ],
)
def test_nodes(name: str, expected: dict[str, int], tmp_path: Path) -> None:
    """A Copy only because the result is an output of the program."""
    assert kinds(CASES[name].program, tmp_path) == expected


@pytest.mark.parametrize("count", [1, 2, 5, 6, 10, 11, 25, 26])
def test_long_concatenations(count: int, tmp_path: Path) -> None:
    parts = [given(1, n % 3 + 1, 2) for n in range(count)]
    assert_right(single("concatenate", *parts, axis=1), tmp_path)


def chain(*kinds: str, shape: Sequence[int] = (2, 3)) -> tuple[list[Tensor], list[Operation]]:
    """Operations of one input, each on the result of the one before, and the tensors."""
    tensors = [Tensor(f"t{i}", tuple(shape)) for i in range(len(kinds) + 1)]
    ends = zip(kinds, tensors[:-1], tensors[1:], strict=True)
    return tensors, [Operation(kind, (x,), y) for kind, x, y in ends]


def test_between_operations_nothing_is_copied(tmp_path: Path) -> None:
    tensors, steps = chain("abs", "cast", "negate")
    average = Operation("mean", (tensors[-1],), Tensor("m", (2, 1)), {"axes": (1,)})
    last = Operation("square", (average.output,), Tensor("s", (2, 1)))
    program = Program([tensors[0]], {"s": last.output}, [*steps, average, last])
    assert_right(program, tmp_path)
    found = [node.type for node in graph(program, tmp_path).nodes]
    assert found == ["Abs", "Negate", "FullyConnected", "Square"]


def test_an_output_may_be_anything(tmp_path: Path) -> None:
    """An input, a constant, given twice, or read by further operations."""
    (x, middle, end), steps = chain("sigmoid", "exp")
    constant = Tensor("c", (3,), data=weights(3))
    outputs = {"end": end, "x": x, "c": constant, "m": middle, "end2": end, "x2": x, "c2": constant}
    assert_right(Program([x], outputs, steps), tmp_path)
    assert_right(Program([x], {"x": x}, []), tmp_path)
    assert_right(Program([], {"c": constant}, []), tmp_path)


def test_inputs_and_values_that_nothing_reads(tmp_path: Path) -> None:
    (x, _, y), steps = chain("sigmoid", "exp")
    unread = Operation("abs", (x,), Tensor("unread", x.shape))
    spare = [Tensor(f"spare{i}", (1, 2, 2)) for i in range(2)]
    program = Program([spare[0], x, spare[1]], {"y": y}, [steps[0], unread, steps[1]])
    assert_right(program, tmp_path)


def test_numbers_without_axes(tmp_path: Path) -> None:
    x, y, half = Tensor("x", ()), Tensor("y", ()), np.array(0.5, np.float32)
    product = Operation("multiply", (x, Tensor("half", (), data=half)), y)
    assert_right(Program([x], {"x": x, "y": y}, [product]), tmp_path)


def test_equal_constants_are_stored_once(tmp_path: Path) -> None:
    x, y, z = (Tensor(name, (2, 6)) for name in "xyz")
    one, same, other = (Tensor(n, (6,), data=weights(6)) for n in ("one", "same", "other"))
    other.data = weights(6, seed=1)
    square = Tensor("square", (1, 6), data=weights(6).reshape(1, 6))
    w = Tensor("w", (2, 6))
    steps = [
        Operation("add", (x, one), y),
        Operation("multiply", (y, same), z),
        Operation("multiply", (z, square), w),
        Operation("divide", (w, other), Tensor("v", (2, 6))),
    ]
    program = Program([x], {"v": steps[-1].output}, steps)
    assert_right(program, tmp_path)
    assert [data.nbytes for data in serialise(program).constants.values()] == [24, 24]
    constants = [t for t in graph(program, tmp_path).tensors.values() if t.constant is not None]
    assert sorted(tensor.shape for tensor in constants) == [(1, 6), (6,), (6,)]


def test_constants_may_be_views(tmp_path: Path) -> None:
    """Of any strides: what is stored is contiguous."""
    kernel = np.ascontiguousarray(weights(3, 3, 6, 8)).transpose(3, 0, 1, 2)
    window = WINDOW | {"dilation": (1, 1), "groups": 1}
    assert_right(single("conv2d", given(1, 5, 5, 6), kernel, weights(16)[::2], **window), tmp_path)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (CASES["cast uint8"].program, "takes float32 only, not uint8"),
        (CASES["cast to int32"].program, "takes float32 only, not int32"),
        (single("abs", given(1, 1, 1, 1, 1, 1, 2)), "at most 6 axes"),
        (single("abs", given(2, 0)), "no empty arrays"),
        (Program([Tensor("x", (2,), "int64")], {}, []), "takes float32 only, not int64"),
        (
            Program([], {}, [Operation("cumsum", (), Tensor("y", (1,)))]),
            "XNNPACK's delegate has no cumsum",
        ),
    ],
)
def test_what_is_not_covered(program: Program, reason: str) -> None:
    with pytest.raises(NotCovered, match=reason):
        emit(program)


def test_a_bias_and_a_summand_with_the_same_numbers_are_two_values(tmp_path: Path) -> None:
    """XNNPACK drops the numbers of what it has packed; an addition that read them would crash."""
    zeros = np.zeros(4, np.float32)
    x, between, y = (Tensor(name, (1, 2, 2, 4)) for name in ("x", "between", "y"))
    weight = Tensor("weight", (4, 4), "float32", np.eye(4, dtype=np.float32))
    bias, summand = (Tensor(name, (4,), "float32", zeros) for name in ("bias", "summand"))
    linear = Operation("fully_connected", (x, weight, bias), between, {"activation": None})
    add = Operation("add", (between, summand), y, {"activation": None})
    program = Program([x], {"y": y}, [linear, add])
    payload = serialise(program)
    assert len(payload.constants) == 2  # stored once all the same
    file = tmp_path / "net.pte"
    file.write_bytes(emit(program))
    given = np.arange(16, dtype=np.float32).reshape(1, 2, 2, 4)
    (found,) = run_file("executorch", file, [{"x": given}], inputs=["x"], outputs=["y"]).results
    np.testing.assert_array_equal(found["y"], given)
