"""The reader of CoreML packages beside coremltools' own view of them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from converters.errors import ArtifactError
from converters.inspection.coreml import read_coreml
from tests.converters.handmade import assert_one_line

pytestmark = pytest.mark.slow
Files = Callable[[str], Path]


@pytest.mark.parametrize(
    ("form", "dtype", "size"), [("fp32", "float32", 4), ("fp16", "float16", 2)]
)
def test_operators_and_weights(form: str, dtype: str, size: int, classifier: Files) -> None:
    import coremltools as ct

    graph = read_coreml(classifier(form))
    spec = ct.utils.load_spec(str(classifier(form)))
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    wanted = Counter(one.type for one in block.operations if one.type != "const")
    assert graph.operators() == wanted and "conv" in wanted
    assert graph.weight_bytes() == {dtype: size * (8 * 3 * 3 * 3 + 8 + 7 * 8 + 7)}
    names = [graph.tensors[i].name for i in (*graph.inputs, *graph.outputs)]
    assert names == [spec.description.input[0].name, spec.description.output[0].name]
    made = [graph.tensors[i].name for node in graph.nodes for i in node.outputs]
    assert made == [o.name for one in block.operations if one.type != "const" for o in one.outputs]
    assert graph.partitions is None and graph.planned_memory is None


def test_parameters_are_attributes_and_weights_are_tensors(classifier: Files) -> None:
    graph = read_coreml(classifier("fp32"))
    convolution = next(node for node in graph.nodes if node.operator == "conv")
    assert convolution.attributes["strides"] == "[2, 2]"
    read = [graph.tensors[i] for i in convolution.inputs]
    shapes = {one.shape for one in read if one.constant}
    assert shapes == {(8, 3, 3, 3), (8,)}
    assert [one.shape for one in read if not one.constant] == [(1, 3, 32, 48)]


def test_control_flow_and_shared_weights(tmp_path: Path) -> None:
    """Operators of both branches, in their scopes; the branches' results flow on."""
    import coremltools as ct
    import numpy as np
    from coremltools.converters.mil import Builder as mb

    table = np.arange(64, dtype=np.float32).reshape(8, 8)

    @mb.program(input_specs=[mb.TensorSpec((8, 8))], opset_version=ct.target.iOS16)
    def program(x):  # type: ignore[no-untyped-def]
        weights = mb.const(val=table, name="weights")
        positive = mb.greater(x=mb.reduce_sum(x=x), y=0.0)
        chosen = mb.cond(
            pred=positive,
            _true_fn=lambda: mb.add(x=x, y=weights),
            _false_fn=lambda: mb.mul(x=x, y=weights),
        )
        return mb.relu(x=chosen)

    package = tmp_path / "branches.mlpackage"
    ct.convert(
        program, minimum_deployment_target=ct.target.iOS16, convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
    ).save(str(package))  # fmt: skip
    graph = read_coreml(package)
    scoped = {node.operator for node in graph.nodes if node.scope}
    assert {"add", "mul"} <= scoped and "cond" not in scoped
    order = [node.operator for node in graph.nodes]
    assert order.index("add") < order.index("cond") < order.index("relu")
    made = {node.operator: set(node.outputs) for node in graph.nodes}
    read = {node.operator: set(node.inputs) for node in graph.nodes}
    assert made["add"] | made["mul"] <= read["cond"] and made["cond"] == read["relu"]
    assert graph.weight_bytes()["float32"] == table.nbytes


def test_damaged_packages_are_one_line(classifier: Files, tmp_path: Path) -> None:
    package = tmp_path / "bad.mlpackage"
    shutil.copytree(classifier("fp32"), package)
    model = next(package.rglob("*.mlmodel"))
    data = bytearray(model.read_bytes())
    refused = 0
    for place in range(0, len(data), len(data) // 60):
        model.write_bytes(data[:place] + bytes([255, 255]) + data[place + 2 :])
        try:
            read_coreml(package)
        except ArtifactError as error:
            assert_one_line(error, str(tmp_path))
            refused += 1
    assert refused > 5
