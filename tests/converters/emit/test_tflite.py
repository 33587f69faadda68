"""Each operation as a .tflite file: its results, its operators, and what XNNPACK takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import OpResolverType

from converters.emit.tflite import emit
from converters.lowering.program import NotCovered, Operation, Program, Tensor
from tests.converters.emit.oracle import run
from tests.converters.emit.programs import CASES, given, single, weights
from tests.converters.emit.tflite_files import assert_close, interpret, operators, outside, read

REFUSED = {"elu 0.5"}
OUTSIDE = {"cast int32", "cast to int32"}  # XNNPACK has no whole numbers of 32 bits
COVERED = sorted(CASES.keys() - REFUSED)


@pytest.mark.parametrize("name", COVERED)
def test_results_are_those_of_torch(name: str, tmp_path: Path) -> None:
    """XNNPACK's kernels, and the interpreter's own as a second opinion."""
    case = CASES[name]
    file, inputs, expected = emit(case.program), case.inputs(), case.expected()
    assert_close(interpret(file, inputs), expected)
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    assert_close(interpret(file, inputs, experimental_op_resolver_type=plain), expected)
    left = outside(file, tmp_path)
    assert left == (["CAST"] if name in OUTSIDE else [])


@pytest.mark.slow
def test_results_are_those_of_tensorflow() -> None:
    tf = pytest.importorskip("tensorflow")
    for name in COVERED:
        case = CASES[name]
        with pytest.warns(UserWarning, match="deprecated"):
            interpreter = tf.lite.Interpreter(model_content=emit(case.program), num_threads=1)
        assert_close(interpreter.get_signature_runner()(**case.inputs()), case.expected())


def test_windows_of_any_size_are_those_of_torch() -> None:
    rng = np.random.default_rng(0)
    schemes = set()
    for _ in range(150):
        kernel, stride, dilation = (tuple(rng.integers(1, 5, 2).tolist()) for _ in range(3))
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        padding = tuple(int(rng.integers(0, r)) for r in (*reach, *reach))
        size = [int(n) for n in rng.integers(reach, 15)]
        program = single(
            "depthwise_conv2d",
            given(1, *size, 2),
            weights(1, *kernel, 2),
            stride=stride,
            dilation=dilation,
            padding=padding,
        )
        inputs = {"x0": rng.standard_normal((1, *size, 2), np.float32)}
        file = emit(program)
        assert_close(interpret(file, inputs), run(program, inputs))
        found = read(file).subgraphs[0].operators
        schemes.add((len(found), found[-1].builtinOptions.padding))
    assert schemes == {
        (1, schema.Padding.SAME),
        (1, schema.Padding.VALID),
        (2, schema.Padding.VALID),
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv2d pointwise", {"CONV_2D": 1}),
        ("conv2d same", {"CONV_2D": 1}),
        ("conv2d stride 2, end only", {"CONV_2D": 1}),
        ("conv2d stem", {"PAD": 1, "CONV_2D": 1}),
        ("depthwise_conv2d dilation", {"DEPTHWISE_CONV_2D": 1}),
        ("conv2d relu6", {"CONV_2D": 1}),
        ("conv2d clamped", {"CONV_2D": 1, "MAXIMUM": 1, "MINIMUM": 1}),
        ("multiply relu", {"MUL": 1}),
        ("clamp -1.0 1.0", {"RELU_N1_TO_1": 1}),
        ("clamp 0.0 1.0", {"RELU": 1, "MINIMUM": 1}),
        ("batch_matmul of batch 1", {"BATCH_MATMUL": 1}),
        ("batch_matmul by a constant", {"BATCH_MATMUL": 1}),
        ("max_pool2d same", {"MAX_POOL_2D": 1}),
        ("max_pool2d stem", {"CONCATENATION": 2, "MAX_POOL_2D": 1}),
        ("pad with -inf", {"CONCATENATION": 2}),
        ("concatenate eight", {"CONCATENATION": 2}),
        ("concatenate one", {"RESHAPE": 1}),
        ("cast uint8", {"DEQUANTIZE": 1}),
    ],
)
def test_operators(name: str, expected: dict[str, int]) -> None:
    found = operators(emit(CASES[name].program))
    assert {kind: count for (kind, _), count in found.items()} == expected


def test_no_more_is_padded_than_windows_read() -> None:
    """Windows of 3 with stride 2 and padding 1 on 16 rows end with the last row."""
    tensors = read(emit(CASES["conv2d stem"].program)).subgraphs[0].tensors
    assert [t.shape.tolist() for t in tensors if t.name == b"y/pad"] == [[1, 17, 17, 3]]


def test_a_clamp_without_bounds_is_a_copy() -> None:
    program = single("clamp", given(2, 3), low=None, high=None)
    inputs = {"x0": weights(2, 3)}
    assert_close(interpret(emit(program), inputs), {"y": inputs["x0"]})


@pytest.mark.parametrize("count", [5, 6, 9, 10, 24, 31])
def test_long_concatenations_are_split(count: int, tmp_path: Path) -> None:
    program = single("concatenate", *[given(1, n % 3 + 1) for n in range(count)], axis=1)
    inputs = {
        tensor.name: weights(*tensor.shape, seed=i) for i, tensor in enumerate(program.inputs)
    }
    file = emit(program)
    assert_close(interpret(file, inputs), {"y": np.concatenate(list(inputs.values()), 1)})
    assert outside(file, tmp_path) == []
    assert sum(operators(file).values()) == 1 + -(-(count - 5) // 4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv2d same", ("CONV_2D", 1)),
        ("conv2d groups", ("CONV_2D", 6)),
        ("depthwise_conv2d same", ("DEPTHWISE_CONV_2D", 1)),
        ("depthwise_conv2d dilation", ("DEPTHWISE_CONV_2D", 2)),
        ("fully_connected", ("FULLY_CONNECTED", 5)),
        ("fully_connected without bias", ("FULLY_CONNECTED", 6)),
        ("resize_bilinear half pixels", ("RESIZE_BILINEAR", 3)),
        ("resize_bilinear corners", ("RESIZE_BILINEAR", 1)),
        ("transpose (0, 2, 1, 3)", ("TRANSPOSE", 1)),
        ("transpose (0, 1, 3, 2, 4)", ("TRANSPOSE", 4)),
        ("transpose (0, 1, 3, 5, 2, 4)", ("TRANSPOSE", 6)),
        ("slice", ("SLICE", 1)),
        ("slice rank 5", ("SLICE", 5)),
        ("subtract both ways", ("SUB", 1)),
        ("gelu", ("GELU", 1)),
    ],
)
def test_versions_are_the_least_that_will_do(name: str, expected: tuple[str, int]) -> None:
    """As LiteRT's op_version.cc gives them: a runtime refuses a version that it does not know."""
    assert list(operators(emit(CASES[name].program))) == [expected]


def test_versions_of_broadcasts_along_five_axes() -> None:
    x, row = given(2, 3, 2, 4, 3), given(3)
    for kind, version in (("subtract", 3), ("divide", 2), ("maximum", 3), ("add", 1)):
        assert [v for _, v in operators(emit(single(kind, x, row)))] == [version]
        assert [v for _, v in operators(emit(single(kind, x, x)))] == [1]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (CASES["elu 0.5"].program, "alpha 0.5"),
        (single("sigmoid", given(1, 1, 1, 1, 1, 1, 1)), "rank 7"),
        (single("sigmoid", given(2, 0)), "empty"),
        (single("cast", given(2, dtype="int64")), "int64"),
        (single("cast", given(2), dtype="float64"), "float64"),
        (single("add", given(2, dtype="int32"), given(2, dtype="int32"), dtype="int32"), "int32"),
        (single("negate", given(2, dtype="uint8")), "float32 and uint8"),
        (
            single(
                "max_pool2d", given(1, 8, 8, 2),
                kernel=(2, 2), stride=(1, 1), padding=(0, 0, 0, 0), dilation=(2, 2),
            ),
            "dilation",
        ),
        (
            single(
                "average_pool2d", given(1, 8, 8, 2),
                kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1),
            ),
            r"padding \(1, 1, 1, 1\)",
        ),
    ],
)  # fmt: skip
def test_what_tflite_lacks_is_refused_in_a_line(program: Program, reason: str) -> None:
    with pytest.raises(NotCovered, match=reason) as caught:
        emit(program)
    assert str(caught.value).isprintable()


def test_a_kind_that_is_not_known_is_refused() -> None:
    x, y = Tensor("x", (2,)), Tensor("y", (2,))
    with pytest.raises(NotCovered, match="einsum"):
        emit(Program([x], {"y": y}, [Operation("einsum", (x,), y)]))
