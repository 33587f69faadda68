""".pte files in the child process: outputs, names, and the file's own account of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch.runtime import Runtime
from torch import Tensor, nn

from converters import Artifact
from converters.errors import MissingExtraError, RuntimeFailure, UnverifiableError
from converters.formats.pte import read_pte
from converters.formats.xnnpack import read_xnnpack
from converters.recipe import Recipe
from converters.runtimes.base import FileRun, SessionRequest, run_file
from converters.runtimes.executorch import open_session
from tests.converters.handmade import assert_one_line
from tests.converters.targets.forms import save_module

pytestmark = pytest.mark.slow
Converted = Callable[..., Artifact]


def run(artifact: Artifact, **changes: Any) -> FileRun:
    cases = artifact.golden()
    names = {"inputs": tuple(cases[0].inputs), "outputs": tuple(cases[0].outputs)} | changes
    return run_file("executorch", artifact.path, [case.inputs for case in cases], **names)


def test_outputs_are_those_of_the_public_runtime(converted: Converted) -> None:
    artifact = converted("mixed", Recipe("executorch"))
    outcome = run(artifact)
    assert outcome.runtime.startswith("executorch 1.")
    method = Runtime.get().load_program(artifact.path).load_method("forward")
    for case, results in zip(artifact.golden(), outcome.results, strict=True):
        wanted = method.execute([torch.from_numpy(x) for x in case.inputs.values()])
        assert list(results) == list(case.outputs)
        for array, tensor in zip(results.values(), wanted, strict=True):
            assert array.dtype == tensor.numpy().dtype
            np.testing.assert_array_equal(array, tensor.numpy())
    specs = (*artifact.manifest.inputs, *artifact.manifest.outputs)
    ports = (*outcome.inputs, *outcome.outputs)
    assert [(p.name, p.shape, p.dtype) for p in ports] == [
        (s.name, s.shape, s.dtype) for s in specs
    ]


def test_names_go_by_position(converted: Converted) -> None:
    artifact = converted("classifier", Recipe("executorch"))
    session = open_session(SessionRequest(str(artifact.path), 1, ("picture",), ("scores",)))
    image = next(iter(artifact.golden()[0].inputs.values()))
    assert session.run({"picture": image})["scores"].shape == (1, 7)
    with pytest.raises(RuntimeFailure, match="has 1 outputs where 2 are named") as caught:
        run(artifact, outputs=("a", "b"))
    assert_one_line(caught.value, str(artifact.path))


def test_the_summary_counts_what_is_in_the_file(converted: Converted) -> None:
    vendors = Recipe("executorch", rewrites=(), emitter="executorch")  # with operators outside
    artifact = converted("mobilevit", vendors)
    graph = artifact.manifest.graph
    program = read_pte(artifact.path)
    method = program.method()
    inside = Counter(n.type for d in method.delegates for n in read_xnnpack(program, d).nodes)
    assert graph is not None
    assert graph.partitions == len(method.delegates) > 1
    assert graph.outside == method.outside() and graph.outside["aten::native_layer_norm.out"] > 1
    assert Counter(graph.operators) == inside + Counter(graph.outside)
    assert graph.planned_memory == sum(method.planned_memory) > 100_000


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sort(x)[0]


def test_an_operator_without_a_kernel_is_named(tmp_path: Path) -> None:
    file = save_module(Sorted(), torch.randn(2, 3), tmp_path / "a.pte", Recipe("executorch"))
    with pytest.raises(RuntimeFailure, match=r"it has no kernel for aten::sort\.values") as caught:
        run_file("executorch", file, [], inputs=("x",), outputs=("y",))
    assert_one_line(caught.value, str(file))


def test_a_backend_that_this_machine_has_not(converted: Converted) -> None:
    artifact = converted("classifier", Recipe("executorch", backend="coreml"))
    with pytest.raises(UnverifiableError, match="CoreMLBackend does not run on this machine"):
        run(artifact)


def test_a_wrong_shape_is_refused(converted: Converted) -> None:
    artifact = converted("classifier", Recipe("executorch"))
    name = artifact.manifest.inputs[0].name
    with pytest.raises(RuntimeFailure, match="the runtime refuses this file") as caught:
        run_file(
            "executorch", artifact.path, [{name: np.zeros((1, 3, 9, 9), np.float32)}],
            inputs=(name,), outputs=("y",),
        )  # fmt: skip
    assert_one_line(caught.value, str(artifact.path))


def test_without_executorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "executorch.extension.pybindings", None)
    with pytest.raises(MissingExtraError, match="executorch is not installed"):
        open_session(SessionRequest("a.pte", 1))
