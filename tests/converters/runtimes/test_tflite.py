"""TFLite files: outputs and operators beside those of interpreters and tools that are not ours."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from converters import Artifact, load_artifact
from converters.artifact import GoldenCase
from converters.errors import RuntimeFailure
from converters.runtimes import base
from converters.runtimes.base import SessionRequest, run_file
from converters.runtimes.tflite import _operators, open_session
from converters.verify import verify
from tests.converters.handmade import assert_one_line, resign

pytestmark = pytest.mark.slow
Converted = Callable[[str], Artifact]
NETWORKS = ["classifier", "classifier-uint8-nhwc", "mixed", "mobilevit"]


def edit(file: Path, change: Callable[[Any], object]) -> None:
    """Changes a .tflite file through the schema's own object form."""
    model = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    change(model)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    file.write_bytes(builder.Output())


def assert_close(cases: tuple[GoldenCase, ...], one: Any, other: Any) -> None:
    for case, a, b in zip(cases, one, other, strict=True):
        assert a.keys() == b.keys() == case.outputs.keys()
        for name, value in a.items():
            assert (value.shape, value.dtype) == (b[name].shape, b[name].dtype)
            scale = np.abs(value).max() or 1
            np.testing.assert_allclose(value / scale, b[name] / scale, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_those_of_the_reference_kernels(name: str, converted: Converted) -> None:
    """The plain loops that every optimised kernel is tested against, without XNNPACK."""
    artifact = converted(name)
    cases = artifact.golden()
    run = run_file("tflite", artifact.path, [case.inputs for case in cases])
    plain = Interpreter(
        str(artifact.path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    ).get_signature_runner()
    assert_close(cases, run.results, [plain(**case.inputs) for case in cases])
    for ports, specs in (
        (run.inputs, artifact.manifest.inputs),
        (run.outputs, artifact.manifest.outputs),
    ):
        assert {(p.name, p.shape, p.dtype) for p in ports} == {
            (s.name, s.shape, s.dtype) for s in specs
        }


@pytest.mark.parametrize("name", NETWORKS)
def test_operators_and_outputs_are_those_of_tensorflow(name: str, converted: Converted) -> None:
    tf = pytest.importorskip("tensorflow")
    artifact = converted(name)
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with pytest.warns(UserWarning, match="deprecated"):
        plain = tf.lite.Interpreter(str(artifact.path), experimental_op_resolver_type=resolver)
        whole = tf.lite.Interpreter(str(artifact.path))
    cases = artifact.golden()
    runner = whole.get_signature_runner()
    outputs = [runner(**case.inputs) for case in cases]
    run = run_file("tflite", artifact.path, [case.inputs for case in cases])
    assert_close(cases, run.results, outputs)
    assert run.graph.operators == Counter(node["op_name"] for node in plain._get_ops_details())
    kinds = [node["op_name"] for node in whole._get_ops_details()]
    assert run.graph.partitions == kinds.count("DELEGATE") > 0


def test_operators_counted_by_hand(converted: Converted) -> None:
    """Normalisation is folded into the convolution; ARG_MAX and the table are not XNNPACK's."""
    graph = converted("classifier").manifest.graph
    assert graph is not None
    assert graph.operators == {
        "TRANSPOSE": 1, "PAD": 1, "CONV_2D": 1, "MEAN": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1,
    }  # fmt: skip
    assert (graph.delegate, graph.partitions) == ("XNNPACK", 1)
    graph = converted("mixed").manifest.graph
    assert graph is not None
    assert graph.operators["EMBEDDING_LOOKUP"] == graph.operators["ARG_MAX"] == 1
    assert graph.partitions == 2


def test_operators_of_other_files(copied: Callable[[str], Path]) -> None:
    """Custom operators, several graphs, and the one byte in which old files kept the number."""
    file = copied("classifier")

    def change(model: Any) -> None:
        for code in model.operatorCodes:
            code.deprecatedBuiltinCode, code.builtinCode = code.builtinCode, 0
        model.operatorCodes[0].customCode = b"Flex\xffFFT"
        model.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
        model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))

    before = _operators(str(file))
    edit(file, change)
    first = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0).operatorCodes[0]
    assert first.customCode is not None
    after = _operators(str(file))
    (custom,) = after.keys() - before.keys()
    (gone,) = before.keys() - after.keys()
    assert custom == "Flex\ufffdFFT" and after.pop(custom) == 2 * before.pop(gone)
    assert after == {name: 2 * count for name, count in before.items()}


def test_a_tensor_without_a_readable_name_runs(copied: Callable[[str], Path]) -> None:
    """Names inside the graph mean nothing to the runtime, and nothing to the verdict."""
    file = copied("classifier")

    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        for i in set(range(len(graph.tensors))) - {*graph.inputs, *graph.outputs}:
            graph.tensors[i].name = b"\xff\xfe"

    edit(file, change)
    resign(file)
    checked = verify(file).checked
    assert checked.parity.verdict == "pass"
    assert checked.graph == load_artifact(file).manifest.graph


def test_a_file_that_asks_for_more_memory_than_there_may_be(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four bytes of padding decide how large the next tensor is."""
    file = copied("classifier")

    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        (pad,) = (
            op
            for op in graph.operators
            if model.operatorCodes[op.opcodeIndex].builtinCode == schema.BuiltinOperator.PAD
        )
        buffer = model.buffers[graph.tensors[pad.inputs[1]].buffer]
        paddings = buffer.data.view(np.int32).copy()
        assert paddings.size == 8  # (before, after) of four axes
        paddings[3] += 20_000  # of 32 rows
        paddings[5] += 2_000  # of 48 columns
        buffer.data = paddings.view(np.uint8)

    edit(file, change)
    monkeypatch.setattr(base, "memory_limit", lambda: 256 * 2**20)
    with pytest.raises(RuntimeFailure) as caught:
        run_file("tflite", file, [{"image": np.zeros((1, 3, 32, 48), np.float32)}])
    assert_one_line(caught.value, str(file))


def _no_signature(model: Any) -> None:
    model.signatureDefs = []


def _two_signatures(model: Any) -> None:
    second = copy.deepcopy(model.signatureDefs[0])
    second.signatureKey = b"second"
    model.signatureDefs.append(second)


def _no_graph(model: Any) -> None:
    model.subgraphs, model.signatureDefs = [], []


def _other_input(model: Any) -> None:
    model.signatureDefs[0].inputs[0].name = b"picture"


def _unknown_operator(model: Any) -> None:
    model.operatorCodes[0].builtinCode = 120_000
    model.operatorCodes[0].deprecatedBuiltinCode = 127


@pytest.mark.parametrize(
    "change", [_no_signature, _two_signatures, _no_graph, _other_input, _unknown_operator]
)
def test_whole_files_that_are_not_ours(
    change: Callable[[Any], object], copied: Callable[[str], Path]
) -> None:
    file = copied("classifier")
    edit(file, change)
    with pytest.raises(RuntimeFailure, match="the runtime refuses this file") as caught:
        run_file("tflite", file, [{"image": np.zeros((1, 3, 32, 48), np.float32)}])
    assert_one_line(caught.value, str(file))


def test_threads_do_not_change_the_outputs(converted: Converted) -> None:
    artifact = converted("mobilevit")
    cases = artifact.golden()
    one, two = (
        run_file("tflite", artifact.path, [case.inputs for case in cases], threads=n).results
        for n in (1, 2)
    )
    assert_close(cases, one, two)


def test_results_are_copies(converted: Converted) -> None:
    """A view of the interpreter's memory would change with the next run."""
    artifact = converted("classifier")
    session = open_session(SessionRequest(str(artifact.path), 1))
    a, b = (case.inputs for case in artifact.golden()[:2])
    first = session.run(a)["output"]
    kept = first.copy()
    session.run(b)
    assert np.array_equal(first, kept)
