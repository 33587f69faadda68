"""The reader of .tflite files beside TensorFlow's interpreter, and on files that are damaged."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from converters import Artifact
from converters.errors import ArtifactError
from converters.inspection.tflite import read_tflite
from tests.converters.handmade import assert_one_line
from tests.converters.inspection.small_tflite import SmallModel, schema


def small_file(folder: Path) -> Path:
    """RELU(x @ w + b), a product of two inputs of any batch, and weights that are stored twice."""
    model = SmallModel()
    x = model.value((1, 4), name="x", signature=(-1, 4))
    weights = model.constant(np.ones((3, 4), np.float32), "w")
    bias = model.constant(np.zeros(3, np.float32), "b")
    twin = model.value((3, 4), name="w again")
    model.tensors[twin].buffer = model.tensors[weights].buffer
    y, z = model.value((1, 3)), model.value((1, 3), name="z")
    options = {"fusedActivationFunction": 1, "keepNumDims": True}
    model.operator("FULLY_CONNECTED", [x, weights, bias], [y], "FullyConnectedOptions", **options)
    model.operator("FULLY_CONNECTED", [x, twin, -1], [z], "FullyConnectedOptions")
    return model.save(folder / "small.tflite", [x], [y, z])


def test_a_small_file(tmp_path: Path) -> None:
    graph = read_tflite(small_file(tmp_path))
    one, other = graph.nodes
    assert one.operator == other.operator == "FULLY_CONNECTED"
    assert (one.inputs, one.outputs) == ((0, 1, 2), (4,))
    assert other.inputs == (0, 3)  # no bias
    assert one.attributes["fusedActivationFunction"] == "RELU"
    assert one.attributes["keepNumDims"] == "True"
    assert (graph.inputs, graph.outputs, graph.partitions) == ((0,), (4, 5), None)
    assert [t.name for t in graph.tensors] == ["x", "w", "b", "w again", "t4", "z"]
    assert graph.tensors[0].shape == (None, 4) and graph.tensors[1].shape == (3, 4)
    assert [t.constant for t in graph.tensors] == [False, True, True, True, False, False]
    assert graph.weight_bytes() == {"float32": 48 + 12}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classifier", "mixed", "classifier-uint8-nhwc", "mobilevit"])
def test_tensors_and_operators_are_the_interpreters(
    name: str, converted: Callable[[str], Artifact]
) -> None:
    artifact = converted(name)
    graph = read_tflite(artifact.path)
    plain = Interpreter(str(artifact.path))
    details = plain.get_tensor_details()
    for tensor, wanted in zip(graph.tensors, details, strict=False):
        assert tensor.name == wanted["name"]
        assert tensor.dtype == np.dtype(wanted["dtype"]).name
        assert tensor.shape == tuple(wanted["shape_signature"])
    operators = plain._get_ops_details()
    assert [node.operator for node in graph.nodes] == [one["op_name"] for one in operators]
    for node, one in zip(graph.nodes, operators, strict=True):
        assert node.inputs == tuple(n for n in one["inputs"] if n >= 0)
        assert node.outputs == tuple(one["outputs"])
    assert graph.operators() == artifact.manifest.graph.operators  # type: ignore[union-attr]
    weights = sum(graph.weight_bytes().values())
    size = artifact.path.stat().st_size
    assert 0 < weights < size


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    """Cut, overwritten and flipped: never a traceback, and no more read than the file holds."""
    good = small_file(tmp_path).read_bytes()
    file = tmp_path / "bad.tflite"
    rng = random.Random(0)
    refused = 0
    for i in range(400):
        data = bytearray(good)
        if i % 4 == 0:
            data = data[: rng.randrange(len(data))]
        elif i % 4 == 1:
            start = rng.randrange(8, len(data))
            data[start : start + 8] = rng.randbytes(len(data[start : start + 8]))
        else:
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(8, len(data))] = rng.choice((0, 1, 127, 128, 255))
        file.write_bytes(data)
        try:
            graph = read_tflite(file)
        except ArtifactError as error:
            assert_one_line(error, str(file))
            refused += 1
        else:
            known = range(len(graph.tensors))
            for node in graph.nodes:
                assert all(n in known for n in (*node.inputs, *node.outputs))
    assert refused > 150


@pytest.mark.parametrize("content", [b"", b"TFL3", b"x" * 100, b"\0" * 4 + b"TFL3" + b"\xff" * 92])
def test_what_is_no_such_file(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "other.tflite"
    file.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read_tflite(file)
    assert_one_line(caught.value, str(file))


def all_as_the_first(data: bytearray, table: Any, field: int) -> None:
    """Lets every entry of a vector of tables, given by its field's number, be the first one."""
    vector = table._tab.Vector(table._tab.Offset(4 + 2 * field))
    count = int.from_bytes(data[vector - 4 : vector], "little")
    first = vector + int.from_bytes(data[vector : vector + 4], "little")
    for place in range(vector, vector + 4 * count, 4):
        data[place : place + 4] = (first - place).to_bytes(4, "little")


def assert_more_than_the_file(data: bytearray, folder: Path) -> None:
    file = folder / "bomb.tflite"
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match="larger than the file") as caught:
        read_tflite(file)
    assert_one_line(caught.value, str(file))


def test_operators_that_share_one_long_list(tmp_path: Path) -> None:
    """Forty kilobytes that would become a million and a half references."""
    model = SmallModel()
    x, y = model.value((1, 4)), model.value((1, 4))
    model.operator("ADD", [x] * 3000, [y])
    for _ in range(500):
        model.operator("ADD", [x], [y])
    data = bytearray(model.save(tmp_path / "long.tflite", [x], [y]).read_bytes())
    all_as_the_first(data, schema.Model.GetRootAs(data).Subgraphs(0), 3)
    assert_more_than_the_file(data, tmp_path)


def test_subgraphs_that_share_their_operators(tmp_path: Path) -> None:
    model = SmallModel()
    x, y = model.value((1, 4)), model.value((1, 4))
    for _ in range(300):
        model.operator("ADD", [], [])
    whole = schema.ModelT.InitFromPackedBuf(model.save(tmp_path / "x", [x], [y]).read_bytes(), 0)
    whole.subgraphs += [schema.SubGraphT() for _ in range(300)]
    builder = flatbuffers.Builder()
    builder.Finish(whole.Pack(builder), b"TFL3")
    data = bytearray(builder.Output())
    all_as_the_first(data, schema.Model.GetRootAs(data), 2)
    assert_more_than_the_file(data, tmp_path)
