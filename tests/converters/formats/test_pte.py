"""What is read from a .pte beside what executorch's own deserialiser makes of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch.exir import schema
from executorch.exir._serialize._program import deserialize_pte_binary
from executorch.exir.scalar_type import ScalarType

from converters import Artifact
from converters.errors import ArtifactError, MissingExtraError
from converters.formats import pte
from converters.formats.pte import List, Number, Tensor, read_pte
from converters.recipe import Recipe
from tests.converters.handmade import assert_one_line

pytestmark = pytest.mark.slow
Converted = Callable[..., Artifact]
FILES = [("classifier", "xnnpack"), ("mixed", "portable"), ("mobilevit", "xnnpack")]
_TORCH = {
    ScalarType.FLOAT: torch.float32, ScalarType.LONG: torch.int64, ScalarType.BOOL: torch.bool,
    ScalarType.INT: torch.int32, ScalarType.BYTE: torch.uint8,
}  # fmt: skip


@pytest.fixture(params=FILES, ids="-".join)
def artifact(request: pytest.FixtureRequest, converted: Converted) -> Artifact:
    name, backend = request.param
    return converted(name, Recipe("executorch", backend=backend))


@pytest.fixture
def file(converted: Converted, tmp_path: Path) -> Path:
    """A file to be damaged."""
    path = tmp_path / "net.pte"
    path.write_bytes(converted("mixed", Recipe("executorch", backend="portable")).path.read_bytes())
    return path


def test_values_are_those_of_the_vendors_deserialiser(artifact: Artifact) -> None:
    program = deserialize_pte_binary(artifact.path.read_bytes()).program
    plan = program.execution_plan[0]
    method = read_pte(artifact.path).method()
    assert method.inputs == tuple(plan.inputs) and method.outputs == tuple(plan.outputs)
    assert list(method.planned_memory) == plan.non_const_buffer_sizes
    assert len(method.values) == len(plan.values)
    for ours, entry in zip(method.values, plan.values, strict=True):
        theirs: Any = entry.val
        if isinstance(theirs, schema.Tensor):
            assert isinstance(ours, Tensor)
            assert ours.dtype == str(_TORCH[theirs.scalar_type]).removeprefix("torch.")
            assert list(ours.shape) == theirs.sizes
            assert bytes(ours.dim_order) == bytes(theirs.dim_order)
            where = theirs.allocation_info
            if where is not None:
                offset = where.memory_offset_low + (where.memory_offset_high << 32)
                assert ours.memory == (where.memory_id, offset)
            assert (ours.memory is None) == (where is None)
            assert (ours.constant is None) == (theirs.data_buffer_idx == 0)
            if ours.constant is not None:
                stored = bytes(program.constant_buffer[theirs.data_buffer_idx].storage)
                assert stored[: ours.size] == ours.constant.data
        elif isinstance(theirs, schema.Int | schema.Double | schema.Bool):
            (value,) = vars(theirs).values()
            value = float(value) if isinstance(theirs, schema.Double) else value  # "-inf"
            assert isinstance(ours, Number)
            assert (type(ours.value), ours.value) == (type(value), value)
        elif isinstance(theirs, schema.Null | schema.String):
            assert ours == getattr(theirs, "string_val", None)
        else:
            assert isinstance(ours, List) and list(ours.items) == theirs.items


def test_instructions_are_those_of_the_vendors_deserialiser(artifact: Artifact) -> None:
    plan = deserialize_pte_binary(artifact.path.read_bytes()).program.execution_plan[0]
    method = read_pte(artifact.path).method()
    names = [f"{op.name}.{op.overload}" for op in plan.operators]
    wanted = []
    for step in plan.chains[0].instructions:
        call: Any = step.instr_args
        if isinstance(call, schema.KernelCall):
            wanted.append(("kernel", names[call.op_index], tuple(call.args), None))
        else:
            delegate = plan.delegates[call.delegate_index].id
            wanted.append(("delegate", delegate, tuple(call.args), call.delegate_index))
    assert [(s.kind, s.name, s.arguments, s.delegate) for s in method.instructions] == wanted
    assert method.outside() == Counter(name for kind, name, *_ in wanted if kind == "kernel")
    assert artifact.manifest.graph is not None
    assert artifact.manifest.graph.outside == method.outside()
    assert artifact.manifest.graph.planned_memory == sum(plan.non_const_buffer_sizes)


def test_each_tensor_is_written_once_and_before_it_is_read(artifact: Artifact) -> None:
    method = read_pte(artifact.path).method()
    known = set(method.inputs)
    for step in method.instructions:
        for index in step.reads:
            value = method.values[index]
            assert index in known or not isinstance(value, Tensor) or value.constant is not None
        assert step.writes and not known & set(step.writes)
        known |= set(step.writes)
    assert known >= set(method.outputs)


def test_numbers_stand_where_it_says(converted: Converted) -> None:
    vendors = Recipe("executorch", rewrites=(), emitter="executorch")  # with operators outside
    path = converted("mobilevit", vendors).path
    data = path.read_bytes()
    method = read_pte(path).method()
    norm = next(s for s in method.instructions if s.name == "aten::native_layer_norm.out")
    epsilon = [v for i in norm.arguments if isinstance(v := method.values[i], Number)][-1]
    assert epsilon.value == 1e-5 and epsilon.place is not None
    assert np.frombuffer(data, "<f8", 1, epsilon.place)[0] == 1e-5


def test_weights_count_once(converted: Converted) -> None:
    """A convolution of 4x2x3x3 and 4, an embedding of 11x4: all in fp32, and each once."""
    program = read_pte(converted("mixed", Recipe("executorch", backend="portable")).path)
    assert program.weight_bytes() == {"float32": 4 * (4 * 2 * 9 + 4 + 11 * 4)}


def test_a_method_that_is_not_there(file: Path) -> None:
    with pytest.raises(ArtifactError, match="has no method 'backward'") as caught:
        read_pte(file).method("backward")
    assert_one_line(caught.value, str(file))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\0" * 64, "has no identifier ET12"),
        (b"TFL3" * 40, "has no identifier ET12"),
        (b"\x10\0\0\0ET12" + b"\xff\xff\0\0" * 50, "points outside itself"),
        (b"\x08\0\0\0ET12" + b"\0" * 200, "has a damaged Program"),
    ],
)
def test_no_program_at_all(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pte"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=reason) as caught:
        read_pte(path)
    assert_one_line(caught.value, str(path))


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "none", tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(ArtifactError) as caught:
            read_pte(path)
        assert_one_line(caught.value, str(path))


def test_a_file_that_ends_early_or_lies_about_its_sizes(file: Path) -> None:
    data = bytearray(file.read_bytes())
    file.write_bytes(data[:-100])
    with pytest.raises(ArtifactError, match="ends before its data"):
        read_pte(file)
    for place in (16, 24):  # the FlatBuffer's size, the segments' start
        lying = bytearray(data)
        lying[place : place + 8] = (2**60).to_bytes(8, "little")
        file.write_bytes(lying)
        with pytest.raises(ArtifactError, match="has a damaged header"):
            read_pte(file)


def test_without_executorch(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pte._schema.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="executorch"):
        read_pte(file)


def test_neither_torch_nor_executorch_is_imported(file: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from converters.formats.pte import read_pte;"
        f"read_pte(Path({str(file)!r}));"
        "sys.exit(any(m.startswith(('torch', 'executorch')) for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
