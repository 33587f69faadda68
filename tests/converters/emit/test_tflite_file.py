"""How emitted .tflite files are stored: constants, names, inputs and outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import OpResolverType

from converters.bisection.tap_tflite import trace
from converters.emit.tflite import emit
from converters.lowering.program import Operation, Program, Tensor
from converters.runtimes.base import SessionRequest
from converters.runtimes.tflite import open_session
from tests.converters.emit.oracle import Array, run
from tests.converters.emit.programs import given, single, weights
from tests.converters.emit.tflite_files import assert_close, interpret, operators, outside, read


def small_network() -> Program:
    """Stem, depthwise with a residual, pool, classifier: nine operations."""
    tensors: dict[str, Tensor] = {}
    operations = []

    def add(kind: str, name: str, *operands: Tensor, shape: tuple[int, ...], **a: Any) -> Tensor:
        tensors[name] = Tensor(name, shape)
        operations.append(Operation(kind, operands, tensors[name], a, module=name))
        return tensors[name]

    def constant(name: str, *shape: int) -> Tensor:
        return Tensor(name, shape, data=weights(*shape))

    image = Tensor("image", (1, 16, 16, 3))
    window: dict[str, Any] = {"dilation": (1, 1), "padding": (1, 1, 1, 1)}
    x = add(
        "conv2d", "stem", image, constant("stem.weight", 8, 3, 3, 3), constant("stem.bias", 8),
        shape=(1, 8, 8, 8), stride=(2, 2), groups=1, activation=(0.0, None), **window,
    )  # fmt: skip
    y = add(
        "depthwise_conv2d", "block", x, constant("block.weight", 1, 3, 3, 8),
        shape=x.shape, stride=(1, 1), **window,
    )  # fmt: skip
    y = add("multiply", "block.gate", y, add("sigmoid", "gate", y, shape=x.shape), shape=x.shape)
    y = add("add", "block.add", x, y, shape=x.shape)
    y = add("mean", "pool", y, shape=(1, 1, 1, 8), axes=(1, 2))
    features = add("reshape", "flatten", y, shape=(1, 8))
    logits = add(
        "fully_connected", "head", features, constant("head.weight", 5, 8),
        constant("head.bias", 5), shape=(1, 5),
    )  # fmt: skip
    scores = add("softmax", "scores", logits, shape=(1, 5))
    return Program([image], {"scores": scores, "features": features}, operations)


def test_a_small_network_is_one_partition(tmp_path: Path) -> None:
    program = small_network()
    file = emit(program)
    assert {kind: count for (kind, _), count in operators(file).items()} == {
        "PAD": 1, "CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "LOGISTIC": 1, "MUL": 1, "ADD": 1,
        "MEAN": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1,
    }  # fmt: skip
    assert outside(file, tmp_path) == []
    inputs = {"image": weights(1, 16, 16, 3, seed=1)}
    assert_close(interpret(file, inputs), run(program, inputs))


def test_names() -> None:
    """The signature and the tensors that a reader of the file sees."""
    model = read(emit(small_network()))
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    names = [tensor.name.decode() for tensor in graph.tensors]
    assert signature.signatureKey == b"serving_default"
    for ports, maps, wanted in (
        (graph.inputs, signature.inputs, ["image"]),
        (graph.outputs, signature.outputs, ["scores", "features"]),
    ):
        assert [one.name.decode() for one in maps] == wanted
        assert [one.tensorIndex for one in maps] == ports.tolist()
    assert [names[i] for i in (*graph.inputs, *graph.outputs)] == ["image", "scores", "flatten"]
    assert {"stem.weight", "stem.bias", "block.add", "stem/pad", "head.bias"} < set(names)
    assert model.description == b"mobilevit-kit"


def test_names_of_tensors_are_unique() -> None:
    x, y = Tensor("x", (1, 4, 4, 2)), Tensor("y/pad", (1, 4, 4, 2))
    z = single("conv2d", given(1, 4, 4, 2), weights(2, 3, 3, 2), stride=(2, 2), groups=1,
               dilation=(1, 1), padding=(1, 1, 1, 1)).operations[0]  # fmt: skip
    last = Operation("conv2d", (y, z.inputs[1]), z.output, z.attributes)
    file = emit(Program([x], {"y": z.output}, [Operation("abs", (x,), y), last]))
    names = [tensor.name.decode() for tensor in read(file).subgraphs[0].tensors]
    assert len(set(names)) == len(names) and {"y/pad", "y/pad;1"} < set(names)


def test_the_same_program_gives_the_same_bytes() -> None:
    assert emit(small_network()) == emit(small_network())


def constants(file: bytes) -> list[Array]:
    return [buffer.data for buffer in read(file).buffers if buffer.data is not None]


def test_equal_constants_are_stored_once() -> None:
    x, one = Tensor("x", (4, 64)), Tensor("one", (64, 64), data=weights(64, 64))
    equal = Tensor("equal", (64, 64), data=weights(64, 64).copy())
    reshaped = Tensor("reshaped", (4096,), data=weights(64, 64).reshape(-1))
    values = [x, *(Tensor(f"v{i}", (4, 64)) for i in range(3))]
    operations = [
        Operation("fully_connected", (values[i], weight), values[i + 1])
        for i, weight in enumerate((one, one, equal))
    ]
    program = Program([x], {"y": values[-1], "flat": reshaped}, operations)
    assert len(constants(emit(program))) == 1
    inputs = {"x": weights(4, 64, seed=1) / 64}
    assert_close(interpret(emit(program), inputs), run(program, inputs))


def test_constants_that_differ_late_are_two() -> None:
    data = weights(64, 64)
    other = data.copy()
    other[-1, -1] += 1
    x, y, z = (Tensor(name, (1, 64)) for name in "xyz")
    operations = [
        Operation("fully_connected", (x, Tensor("a", (64, 64), data=data)), y),
        Operation("fully_connected", (y, Tensor("b", (64, 64), data=other)), z),
    ]
    program = Program([x], {"z": z}, operations)
    assert len(constants(emit(program))) == 2
    inputs = {"x": weights(1, 64, seed=1)}
    assert_close(interpret(emit(program), inputs), run(program, inputs))


def test_constants_are_aligned() -> None:
    file = np.frombuffer(emit(small_network()), np.uint8)
    model = schema.Model.GetRootAs(file)
    starts = [
        model.Buffers(i).DataAsNumpy().__array_interface__["data"][0]
        - file.__array_interface__["data"][0]
        for i in range(1, model.BuffersLength())
    ]
    assert len(starts) > 5 and not any(start % 16 for start in starts)


def test_constants_may_lie_in_any_order_in_memory() -> None:
    weight = weights(6, 5).T
    assert not weight.flags.c_contiguous
    program = single("fully_connected", given(2, 6), weight)
    inputs = {"x0": weights(2, 6)}
    assert_close(interpret(emit(program), inputs), run(program, inputs))


@pytest.mark.parametrize("delegated", [True, False])
def test_outputs_may_be_inputs_constants_and_the_same(delegated: bool) -> None:
    x, unused, y = Tensor("x", (2, 3)), Tensor("unused", (4,)), Tensor("y", (2, 3))
    k = Tensor("k", (5,), data=weights(5))
    outputs = {"y": y, "again": y, "x": x, "k": k, "idle": unused, "third": y}
    program = Program([unused, x], outputs, [Operation("exp", (x,), y)])
    inputs = {"x": weights(2, 3), "unused": weights(4)}
    resolver = (
        OpResolverType.AUTO if delegated else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    found = interpret(emit(program), inputs, experimental_op_resolver_type=resolver)
    assert_close(found, run(program, inputs))


def test_uint8_images_stay_in_the_partition(tmp_path: Path) -> None:
    """Turned, cut and cast: numbers of 8 bits that stand for themselves."""
    image = Tensor("image", (1, 3, 8, 8), "uint8")
    turned, cut = Tensor("turned", (1, 8, 8, 3), "uint8"), Tensor("cut", (1, 6, 8, 3), "uint8")
    y = Tensor("y", (1, 6, 8, 3))
    operations = [
        Operation("transpose", (image,), turned, {"order": (0, 2, 3, 1)}),
        Operation("slice", (turned,), cut, {"begin": (0, 1, 0, 0), "size": (1, 6, 8, 3)}),
        Operation("cast", (cut,), y),
    ]
    file = emit(Program([image], {"y": y, "cut": cut}, operations))
    pixels = np.random.default_rng(0).integers(0, 256, image.shape, np.uint8)
    wanted = pixels.transpose(0, 2, 3, 1)[:, 1:7]
    found = interpret(file, {"image": pixels})
    assert found["y"].dtype == np.float32 and found["cut"].dtype == np.uint8
    np.testing.assert_array_equal(found["y"], wanted)
    np.testing.assert_array_equal(found["cut"], wanted)
    assert outside(file, tmp_path) == []


def test_the_kits_own_readers_take_it(tmp_path: Path) -> None:
    program = small_network()
    path = tmp_path / "small.tflite"
    path.write_bytes(emit(program))
    inputs = {"image": weights(1, 16, 16, 3, seed=1)}
    request = SessionRequest(str(path), threads=1)
    session = open_session(request)
    assert [(port.name, port.shape) for port in session.inputs] == [("image", (1, 16, 16, 3))]
    assert {port.name: port.shape for port in session.outputs} == {
        "scores": (1, 5), "features": (1, 8),
    }  # fmt: skip
    assert_close(session.run(inputs), run(program, inputs))
    assert session.summary().partitions == 1
    seen = trace(request, inputs)
    assert seen.inputs.keys() == {"image"} and seen.outputs.keys() == {"scores", "features"}
    assert_close(
        {"scores": seen.values[seen.outputs["scores"]]}, {"scores": run(program, inputs)["scores"]}
    )
    assert {"stem", "block", "gate", "block.add", "pool", "head"} < set(seen.names.values())


def test_parameters_are_shared_where_they_are_equal() -> None:
    x, y, z = Tensor("x", (2, 3, 4)), Tensor("y", (2, 4, 3)), Tensor("z", (4, 2, 3))
    last = Tensor("last", (4, 3, 2))
    orders = ((0, 2, 1), (1, 0, 2), (0, 2, 1))
    operations = [
        Operation("transpose", (source,), result, {"order": order})
        for source, result, order in zip((x, y, z), (y, z, last), orders, strict=True)
    ]
    file = emit(Program([x], {"last": last}, operations))
    inputs = {"x": weights(2, 3, 4)}
    np.testing.assert_array_equal(interpret(file, inputs)["last"], inputs["x"].transpose(2, 1, 0))
    names = [tensor.name.decode() for tensor in read(file).subgraphs[0].tensors]
    assert [name for name in names if name.startswith("order")] == ["order", "order;1"]
