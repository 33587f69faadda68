"""Emitted .pte files: how they are laid out, and what the kit's own tools make of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary
from executorch.runtime import Runtime
from torch import nn

from converters.bisection.tap_executorch import trace
from converters.emit.pte import emit
from converters.errors import ArtifactError, RuntimeFailure
from converters.formats.pte import read_pte
from converters.formats.xnnpack import read_xnnpack, weight_bytes
from converters.inspection.executorch import read_executorch
from converters.lowering.program import Operation, Program, Tensor
from converters.runtimes.base import SessionRequest, run_file
from tests.converters.emit.programs import CASES, Array, run, weights
from tests.converters.formats.test_corrupt_pte import damaged
from tests.converters.handmade import assert_one_line

WINDOW = {"stride": (1, 1), "dilation": (1, 1), "padding": (1, 1, 1, 1), "groups": 1}


def network() -> Program:
    """A map (1, 3, 8, 8), convolved, pooled and classified; the spare input is not read."""
    names: dict[str, tuple[int, ...]] = {
        "image": (1, 3, 8, 8), "spare": (2, 3), "offset": (1, 6), "turned": (1, 8, 8, 3),
        "map": (1, 8, 8, 6), "pooled": (1, 1, 1, 6), "features": (1, 6), "moved": (1, 6),
        "scores": (1, 7),
    }  # fmt: skip
    t = {name: Tensor(name, shape) for name, shape in names.items()}
    kernel, bias, matrix = (
        Tensor(name, data.shape, data=data)
        for name, data in (
            ("kernel", weights(6, 3, 3, 3)), ("bias", weights(6)), ("matrix", weights(7, 6)),
        )
    )  # fmt: skip
    steps = [
        Operation("transpose", (t["image"],), t["turned"], {"order": (0, 2, 3, 1)}),
        Operation(
            "conv2d",
            (t["turned"], kernel, bias),
            t["map"],
            WINDOW | {"activation": (0.0, None)},
        ),
        Operation("mean", (t["map"],), t["pooled"], {"axes": (1, 2)}),
        Operation("reshape", (t["pooled"],), t["features"]),
        Operation("add", (t["features"], t["offset"]), t["moved"]),
        Operation("fully_connected", (t["moved"], matrix), t["scores"]),
    ]
    inputs = [t[name] for name in ("image", "spare", "offset")]
    return Program(inputs, {"scores": t["scores"], "features": t["features"]}, steps)


def inputs() -> dict[str, Array]:
    return {t.name: weights(*t.shape, seed=1) for t in network().inputs}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.pte"
    path.write_bytes(emit(network()))
    return path


def test_the_public_runtime_computes_what_torch_does(file: Path) -> None:
    method = Runtime.get().load_program(file).load_method("forward")
    found = method.execute([torch.from_numpy(value) for value in inputs().values()])
    for tensor, wanted in zip(found, run(network(), inputs()).values(), strict=True):
        np.testing.assert_allclose(tensor.numpy(), wanted, rtol=1e-5, atol=1e-5)


def test_one_method_is_one_call_of_one_delegate(file: Path) -> None:
    program = read_pte(file)
    (method,) = program.methods
    (call,) = method.instructions
    assert (method.name, call.kind, call.name) == ("forward", "delegate", "XnnpackBackend")
    assert (method.inputs, method.outputs) == ((0, 1, 2), (3, 4))
    assert (call.reads, call.writes) == ((0, 2), (3, 4))
    graph = read_xnnpack(program, method.delegates[0])
    ends = (*graph.inputs, *graph.outputs)
    for identity, value in zip(ends, call.arguments, strict=True):
        assert graph.tensors[identity].shape == method.values[value].shape


def test_planned_memory_holds_every_tensor(file: Path) -> None:
    """With 64 bytes behind the last, which XNNPACK's kernels may read."""
    method = read_pte(file).method()
    end = 0
    for value in method.values:
        arena, offset = value.memory
        assert arena == 1 and offset >= end and offset % 16 == 0
        end = offset + value.size
    assert method.planned_memory == (0, end + 64)


def test_constants_are_named_by_their_digest(file: Path) -> None:
    program = read_pte(file)
    stored = {tensor.data.tobytes() for tensor in network().constants()}
    assert {bytes(blob.data) for blob in program.named_data.values()} == stored
    for name, blob in program.named_data.items():
        assert hashlib.sha256(blob.data).hexdigest() == name
        assert blob.start % 128 == 0
    assert program.method().delegates[0].payload.start % 128 == 0
    assert weight_bytes(program) == {"float32": 4 * (6 * 27 + 6 + 7 * 6)}


def test_the_same_program_gives_the_same_bytes() -> None:
    assert emit(network()) == emit(network())


def described(path: Path) -> dict[str, Any]:
    """What a file holds, but for where it stands and what its values are numbered."""
    program = read_pte(path)
    (method,) = program.methods
    (call,) = method.instructions
    ends = [method.values[i] for i in (*method.inputs, *method.outputs)]
    metadata = deserialize_pte_binary(path.read_bytes()).program.execution_plan[0]
    return {
        "version": program.version,
        "constants": {name: bytes(blob.data) for name, blob in program.named_data.items()},
        "tensors": [
            (value.dtype, value.shape, value.dim_order, value.is_dynamic) for value in ends
        ],
        "call": [method.values[i].shape for i in call.reads],
        "specs": method.delegates[0].compile_specs,
        "memory": method.planned_memory,
        "nesting": metadata.container_meta_type,
    }


def test_executorch_reads_the_file_and_writes_it_again(file: Path) -> None:
    again = file.with_name("again.pte")
    stored = deserialize_pte_binary(file.read_bytes())
    again.write_bytes(bytes(serialize_pte_binary(stored, extract_delegate_segments=True)))
    assert described(again) == described(file)
    payloads = [read_pte(path).method().delegates[0].payload.data for path in (file, again)]
    assert payloads[0] == payloads[1]
    assert again.stat().st_size == pytest.approx(file.stat().st_size, abs=128)


class Network(nn.Module):
    """What `network` is, for the official route."""

    def __init__(self) -> None:
        super().__init__()
        kernel, matrix = (torch.from_numpy(weights(*s)) for s in ((6, 3, 3, 3), (7, 6)))
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.conv.weight = nn.Parameter(kernel.permute(0, 3, 1, 2).contiguous())
        self.conv.bias = nn.Parameter(torch.from_numpy(weights(6)))
        self.linear = nn.Linear(6, 7, bias=False)
        self.linear.weight = nn.Parameter(matrix)

    def forward(self, image: Any, spare: Any, offset: Any) -> tuple[Any, Any]:
        features = self.conv(image).relu().mean((2, 3), keepdim=True).flatten(1)
        return self.linear(features + offset), features


@pytest.mark.slow
def test_the_file_is_like_that_of_the_official_route(file: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    given = [torch.from_numpy(value) for value in inputs().values()]
    exported = torch.export.export(Network().eval(), tuple(given))
    edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    official = file.with_name("official.pte")
    official.write_bytes(edge.to_executorch().buffer)
    ours, theirs = described(file), described(official)
    assert ours.pop("memory") > theirs.pop("memory")  # that of the input that nothing reads
    assert ours == theirs
    results = []
    for path in (file, official):
        results.append(Runtime.get().load_program(path).load_method("forward").execute(given))
    for value, wanted in zip(*results, strict=True):
        assert torch.equal(value, wanted)


def test_the_inspector_sees_one_partition(file: Path) -> None:
    graph = read_executorch(file)
    assert [partition.delegate for partition in graph.partitions] == ["XnnpackBackend"]
    assert {node.partition for node in graph.nodes} == {0}
    assert Counter(node.operator for node in graph.nodes) == {
        "StaticTranspose": 1, "Conv2d": 1, "GlobalAvgPooling2d": 1, "StaticReshape": 1, "Add": 1,
        "FullyConnected": 1,
    }  # fmt: skip
    ends = [graph.tensors[i].shape for i in (*graph.inputs, *graph.outputs)]
    assert ends == [(1, 3, 8, 8), (2, 3), (1, 6), (1, 7), (1, 6)]


def test_every_value_inside_can_be_looked_into(file: Path) -> None:
    """As `mvkit verify --bisect` does it: by a copy of the file in which all are outputs."""
    program = network()
    computed = {step.output.name: step.output for step in program.operations}
    wanted = run(Program(program.inputs, computed, program.operations), inputs())
    names = [tensor.name for tensor in program.inputs]
    found = trace(SessionRequest(str(file), 1, names, list(program.outputs)), inputs())
    assert len(found.operators) == len(wanted)
    for operator, value in zip(found.operators, wanted.values(), strict=True):
        (written,) = operator.writes
        np.testing.assert_allclose(found.values[written], value, rtol=1e-5, atol=1e-5)
    for name, key in found.outputs.items():
        np.testing.assert_allclose(found.values[key], wanted[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["concatenate eight", "mean (0, 2) of (2, 5, 6)", "pad rank 2"])
def test_so_can_values_between_the_nodes_of_one_operation(name: str, file: Path) -> None:
    """Which fails where the file is wrong about their shapes: the runtime knows better."""
    case = CASES[name]
    file.write_bytes(emit(case.program))
    names = [tensor.name for tensor in case.program.inputs]
    found = trace(SessionRequest(str(file), 1, names, ["y"]), case.inputs())
    np.testing.assert_allclose(found.values[found.outputs["y"]], case.expected()["y"], atol=1e-5)
    assert all(key in found.values for operator in found.operators for key in operator.writes)


def test_damaged_files_are_one_line(file: Path) -> None:
    good = file.read_bytes()
    outcomes: Counter[bool] = Counter()
    for data in damaged(good, 0) + damaged(good, 1):
        file.write_bytes(data)
        try:
            weight_bytes(read_pte(file))
            read_executorch(file)
            outcomes[True] += 1
        except ArtifactError as error:
            assert_one_line(error, str(file))
            outcomes[False] += 1
    assert min(outcomes.values()) >= 10, outcomes


def test_a_damaged_payload_is_refused_in_one_line(file: Path) -> None:
    """Its identifier, where its FlatBuffer stands, and how long that is."""
    good = file.read_bytes()
    start = good.index(b"XH00") - 4
    for place in (4, 10, 14):
        file.write_bytes(good[: start + place] + b"\xff\xff\xff\x7f" + good[start + place + 4 :])
        with pytest.raises(ArtifactError) as caught:
            weight_bytes(read_pte(file))
        assert_one_line(caught.value, str(file), "XNNPACK")
    names = {"inputs": tuple(inputs()), "outputs": tuple(network().outputs)}
    with pytest.raises(RuntimeFailure) as refused:
        run_file("executorch", file, [inputs()], **names)
    assert_one_line(refused.value, str(file))
