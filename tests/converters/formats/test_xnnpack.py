"""XNNPACK's graphs beside what flatc, which executorch ships, prints of the same payloads."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import Artifact
from converters.errors import ArtifactError
from converters.formats.pte import Delegate, PteProgram, read_pte
from converters.formats.xnnpack import BACKEND, read_xnnpack, weight_bytes
from converters.recipe import Recipe
from tests.converters.handmade import assert_one_line

pytestmark = pytest.mark.slow
Converted = Callable[..., Artifact]


@pytest.fixture(params=["classifier", "mobilevit"])
def program(request: pytest.FixtureRequest, converted: Converted) -> PteProgram:
    return read_pte(converted(request.param, Recipe("executorch")).path)


def printed(delegate: Delegate, folder: Path) -> Any:
    """The payload's FlatBuffer as JSON, by flatc."""
    (executorch,) = find_spec("executorch").submodule_search_locations
    vendor = Path(executorch)
    data = bytes(delegate.payload.data)
    start, size = int.from_bytes(data[10:14], "little"), int.from_bytes(data[14:18], "little")
    (folder / "graph.bin").write_bytes(data[start : start + size])
    schema = vendor / "backends/xnnpack/serialization/schema.fbs"
    command = [
        vendor / "data/bin/flatc", "--json", "--defaults-json", "--strict-json",
        "-o", folder, schema, "--", folder / "graph.bin",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return json.loads((folder / "graph.json").read_text().replace(": inf", ": Infinity"))


def test_graphs_are_those_that_flatc_prints(program: PteProgram, tmp_path: Path) -> None:
    delegates = [d for d in program.method().delegates if d.backend == BACKEND]
    assert delegates
    for delegate in delegates:
        graph, wanted = read_xnnpack(program, delegate), printed(delegate, tmp_path)
        assert sorted(graph.inputs) == sorted(wanted["input_ids"])
        assert sorted(graph.outputs) == sorted(wanted["output_ids"])
        assert len(graph.nodes) == len(wanted["xnodes"])
        for node, entry in zip(graph.nodes, wanted["xnodes"], strict=True):
            assert f"XNN{node.type}" == entry["xnode_union_type"]
            fields = dict(entry["xnode_union"])
            fields.pop("num_dims", None)
            fields |= entry.get("output_min_max", {})
            ids = {k: v for k, v in fields.items() if k.endswith("_id") and v != 2**32 - 1}
            if node.type.startswith("Concatenate"):
                ids = {k: v for k, v in ids.items() if k not in unused(node.type)}
            ours = {f"{name}_id": v for name, v in (*node.operands.items(), *node.results.items())}
            assert ours == ids
            attributes = {k: v for k, v in fields.items() if not k.endswith("_id")}
            assert attributes == {
                k: list(v) if isinstance(v, tuple) else pytest.approx(v)
                for k, v in node.attributes.items()
            }
        assert len(graph.tensors) == len(wanted["xvalues"])
        for entry in wanted["xvalues"]:
            value = entry["xvalue_union"]
            tensor = graph.tensors[value["id_out"]]
            assert f"xnn_datatype_{tensor.dtype}" == value["datatype"]
            assert list(tensor.shape) == value["dims"]
            assert (tensor.constant is None) == (value["constant_buffer_idx"] == 0)


def unused(kind: str) -> set[str]:
    return {f"input{i}_id" for i in range(int(kind[-1]) + 1, 6)}


def test_a_delegates_arguments_are_the_graphs_inputs_and_outputs(program: PteProgram) -> None:
    method = program.method()
    steps = [step for step in method.instructions if step.kind == "delegate"]
    for step in steps:
        assert step.delegate is not None
        graph = read_xnnpack(program, method.delegates[step.delegate])
        ids = (*graph.inputs, *graph.outputs)
        assert len(ids) == len(step.arguments)
        for number, index in zip(ids, step.arguments, strict=True):
            assert graph.tensors[number].shape == method.values[index].shape


def test_every_value_is_given_or_computed_before_it_is_read(program: PteProgram) -> None:
    for delegate in program.method().delegates:
        graph = read_xnnpack(program, delegate)
        known = {*graph.inputs, *(n for n, t in graph.tensors.items() if t.constant is not None)}
        for node in graph.nodes:
            assert known >= set(node.operands.values()), node
            known |= set(node.results.values())
        assert known >= set(graph.outputs)


def test_weights_and_attributes_of_the_classifier(converted: Converted) -> None:
    """The convolution's weights, with its norm folded in, stand transposed in the file."""
    artifact = converted("classifier", Recipe("executorch"))
    program = read_pte(artifact.path)
    graph = read_xnnpack(program, program.method().delegates[0])
    conv = next(node for node in graph.nodes if node.type == "Conv2d")
    assert conv.attributes["subsampling_height"] == 2 and conv.attributes["output_min"] == 0
    data = artifact.path.read_bytes()
    assert int.from_bytes(data[(p := conv.places["kernel_width"]) : p + 4], "little") == 3
    assert "adjustment_width" not in conv.places  # a zero is not stored
    weights = graph.tensors[conv.operands["filter"]]
    assert weights.shape == (8, 3, 3, 3) and weights.constant is not None
    source = torch_classifier()
    folded = source["conv.weight"] * (
        source["norm.weight"] / np.sqrt(source["norm.running_var"] + 1e-5)
    ).reshape(-1, 1, 1, 1)
    stored = np.frombuffer(weights.constant.data, "<f4").reshape(8, 3, 3, 3)
    np.testing.assert_allclose(stored, folded.transpose(0, 2, 3, 1), rtol=1e-5)
    assert weight_bytes(program)["float32"] == 4 * (8 * 27 + 8 + 7 * 8 + 7)


def torch_classifier() -> dict[str, Any]:
    from tests.networks import make_case

    return {name: t.numpy() for name, t in make_case("classifier").module.state_dict().items()}


def test_all_constants_count_by_type(program: PteProgram) -> None:
    """Shared constants once: together they are what the file's named data and segments hold."""
    counts = weight_bytes(program)
    named = {blob.start: len(blob.data) for blob in program.named_data.values()}
    assert Counter(counts) == Counter(program.weight_bytes()) + Counter(float32=sum(named.values()))


@pytest.mark.parametrize(
    ("place", "reason"), [(10, "ends before its data"), (14, "ends before its data"), (4, "XN01")]
)
def test_a_damaged_header(place: int, reason: str, converted: Converted, tmp_path: Path) -> None:
    path = tmp_path / "net.pte"
    data = bytearray(converted("classifier", Recipe("executorch")).path.read_bytes())
    program = read_pte(converted("classifier", Recipe("executorch")).path)
    start = program.method().delegates[0].payload.start
    data[start + place : start + place + 4] = b"\xff\xff\xff\x7f"
    path.write_bytes(data)
    damaged = read_pte(path)
    with pytest.raises(ArtifactError, match=reason) as caught:
        read_xnnpack(damaged, damaged.method().delegates[0])
    assert_one_line(caught.value, str(path), "XNNPACK")
