"""Partitions of .tflite files, as the interpreter plans them in a child process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converters.errors import RuntimeFailure
from converters.inspection import child, xnnpack_plan
from converters.inspection.graph import Node
from converters.inspection.tflite import read_tflite
from converters.inspection.xnnpack_plan import assign, with_xnnpack_partitions
from tests.converters.handmade import assert_one_line
from tests.converters.inspection.small_tflite import SmallModel

pytestmark = pytest.mark.slow


def three_parts(folder: Path) -> Path:
    """RELU, ADD | ARG_MAX, CAST | NEG: two partitions with whole numbers between them."""
    model = SmallModel()
    t = [model.value((1, 4), name=name) for name in ("x", "relu", "add", "neg")]
    index, number = model.value((1,), "INT32"), model.value((1,))
    axis = model.constant(np.array(1, np.int32))
    model.operator("RELU", t[:1], t[1:2])
    model.operator("ADD", t[:2], t[2:3], "AddOptions")
    model.operator("ARG_MAX", [t[2], axis], [index], "ArgMaxOptions", outputType=2)
    model.operator("CAST", [index], [number], "CastOptions", inDataType=2, outDataType=0)
    model.operator("NEG", [number], [t[3]])
    return model.save(folder / "three.tflite", t[:1], [t[2], t[3]])


def test_which_operators_are_inside(tmp_path: Path) -> None:
    file = three_parts(tmp_path)
    graph = with_xnnpack_partitions(read_tflite(file), file)
    assert [node.partition for node in graph.nodes] == [0, 0, None, None, 1]
    assert graph.partitions is not None and {p.delegate for p in graph.partitions} == {"XNNPACK"}
    assert graph.outside() == {"ARG_MAX": 1, "CAST": 1} and graph.notes == ()


def test_a_folder_of_the_same_name_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = three_parts(tmp_path)
    (tmp_path / "converters").mkdir()
    (tmp_path / "converters" / "__init__.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert with_xnnpack_partitions(read_tflite(file), file).partitions is not None


def test_a_delegate_ends_at_what_it_reads() -> None:
    chain = [Node("A", (i,), (i + 1,)) for i in range(4)]
    assert assign(chain, [((1,), (3,))]) == {1: 0, 2: 0}
    assert assign(chain, [((0,), (1,)), ((2, 3), (4, 3))]) == {0: 0, 2: 1, 3: 1}
    assert assign(chain, []) == {}


def test_a_file_that_the_runtime_refuses_is_still_read(tmp_path: Path) -> None:
    model = SmallModel()
    x, y = model.value((1, 4)), model.value((1, 4))
    model.operator("STABLEHLO_SCATTER", [x], [y])
    file = model.save(tmp_path / "odd.tflite", [x], [y])
    graph = with_xnnpack_partitions(read_tflite(file), file)
    assert graph.partitions is None and graph.operators() == {"STABLEHLO_SCATTER": 1}
    assert len(graph.notes) == 1 and graph.notes[0].startswith("partitions are not known: ")
    assert graph.notes[0].isprintable()


def test_a_runtime_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = three_parts(tmp_path)
    monkeypatch.setattr(xnnpack_plan, "_TIME_LIMIT_S", 0.01)
    graph = with_xnnpack_partitions(read_tflite(file), file)
    assert graph.partitions is None and "did not finish within" in graph.notes[0]


def test_a_plan_of_another_graph_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = three_parts(tmp_path)
    monkeypatch.setattr(xnnpack_plan, "ask", lambda *_: {"operators": 4, "delegates": []})
    graph = with_xnnpack_partitions(read_tflite(file), file)
    assert graph.partitions is None and "changes the graph" in graph.notes[0]


def test_a_subject_that_fails_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "no.tflite"
    file.write_bytes(b"nothing")
    with pytest.raises(RuntimeFailure) as caught:
        child.ask("xnnpack_plan", file, 60)
    assert_one_line(caught.value, str(file))
