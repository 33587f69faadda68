"""The reader of .pte files beside executorch's own, with XNNPACK and CoreML inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converters.errors import ArtifactError, MissingExtraError
from converters.inspection import executorch as subject
from converters.inspection.breaks import find_breaks
from converters.inspection.executorch import read_executorch
from tests.converters.handmade import assert_one_line

pytestmark = pytest.mark.slow
Files = Callable[[str], Path]
WEIGHTS = 4 * (8 * 3 * 3 * 3 + 8 + 7 * 8 + 7)  # bytes: convolution with folded norm, linear layer


def vendors_plan(file: Path) -> Any:
    """The first method as executorch's own reader gives it."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    return deserialize_pte_binary(file.read_bytes()).program.execution_plan[0]


def kernels(plan: Any) -> Counter[str]:
    """The operators that the runtime itself calls."""
    calls = [one.instr_args for chain in plan.chains for one in chain.instructions]
    used = [plan.operators[call.op_index] for call in calls if hasattr(call, "op_index")]
    return Counter(f"{one.name}.{one.overload}" for one in used)


@pytest.mark.parametrize("form", ["xnnpack", "portable", "coreml"])
def test_delegates_and_operators_outside(form: str, classifier: Files) -> None:
    graph, plan = read_executorch(classifier(form)), vendors_plan(classifier(form))
    assert graph.partitions is not None
    assert [one.delegate for one in graph.partitions] == [one.id for one in plan.delegates]
    assert graph.outside() == kernels(plan)
    assert graph.planned_memory == sum(plan.non_const_buffer_sizes)
    (image,), (logits,) = graph.inputs, graph.outputs
    assert graph.tensors[image].shape == (1, 3, 32, 48)
    assert graph.tensors[logits].describe() == "float32 1x7"


def test_what_xnnpack_holds(classifier: Files) -> None:
    graph = read_executorch(classifier("xnnpack"))
    inside = Counter(node.operator for node in graph.nodes if node.partition is not None)
    assert inside == {"StaticTranspose": 2, "Conv2d": 1, "FullyConnected": 1}
    assert graph.partition_sizes() == (3, 1)
    assert graph.weight_bytes()["float32"] == WEIGHTS
    convolution = next(node for node in graph.nodes if node.operator == "Conv2d")
    assert convolution.attributes["subsampling_height"] == "2"
    (one,) = find_breaks(graph)
    assert one.operator == "aten::mean.out" and one.mend is not None


@pytest.mark.parametrize("form", ["xnnpack", "coreml"])
def test_data_flows_through_the_delegates(form: str, classifier: Files) -> None:
    """From the input each operator can be reached, and the output from each."""
    graph = read_executorch(classifier(form))
    reached = set(graph.inputs)
    for node in graph.nodes:
        assert reached & set(node.inputs)
        reached.update(node.outputs)
    assert set(graph.outputs) <= reached
    wanted = set(graph.outputs)
    for node in reversed(graph.nodes):
        assert wanted & set(node.outputs)
        wanted.update(node.inputs)
    assert set(graph.inputs) <= wanted


def test_a_coreml_package_inside(classifier: Files) -> None:
    graph = read_executorch(classifier("coreml"))
    inside = Counter(node.operator for node in graph.nodes if node.partition == 0)
    assert inside == {"cast": 2, "conv": 1, "relu": 1, "reduce_mean": 1, "linear": 1}
    assert graph.weight_bytes()["float16"] == WEIGHTS // 2
    assert find_breaks(graph) == ()


def test_a_package_that_nobody_can_read_is_one_node(
    classifier: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(_: Path) -> None:
        raise MissingExtraError("coremltools", "coreml")

    monkeypatch.setattr(subject, "read_coreml", absent)
    graph = read_executorch(classifier("coreml"))
    assert graph.operators() == {"CoreMLBackend": 1}
    assert graph.partitions is not None and "coremltools is not" in graph.partitions[0].note


def test_a_damaged_package_inside_is_one_line(
    classifier: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(path: Path) -> None:
        raise ArtifactError(f"{path}: its program is damaged")

    monkeypatch.setattr(subject, "read_coreml", damaged)
    with pytest.raises(ArtifactError, match="its program is damaged") as caught:
        read_executorch(classifier("coreml"))
    assert_one_line(caught.value, f"{classifier('coreml')}: its CoreML delegate: ")
    assert "/tmp" not in str(caught.value).removeprefix(str(classifier("coreml")))
