"""What the taps show is what the runtimes compute: outputs agree, and no operator is left out."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters import Artifact, load_artifact
from converters.bisection.taps import FileTrace, trace_file
from converters.errors import RuntimeFailure, UnverifiableError
from converters.recipe import Recipe
from converters.runtimes.base import run_file
from converters.targets import target_named
from converters.verify import recipe_of

pytestmark = pytest.mark.slow

TARGETS = ("tflite", "coreml", "executorch")


def tapped(artifact: Artifact) -> FileTrace:
    return _tapped(artifact.path)


@functools.cache
def _tapped(file: Path) -> FileTrace:
    artifact = load_artifact(file)
    case = artifact.golden()[0]
    return trace_file(
        target_named(artifact.manifest.target).runtime(recipe_of(artifact)),
        file,
        case.inputs,
        inputs=list(case.inputs),
        outputs=list(case.outputs),
        time_limit_s=120,
    )


@pytest.mark.parametrize("target", TARGETS)
def test_the_tap_computes_what_the_file_does(
    target: str, converted: Callable[..., Artifact]
) -> None:
    artifact = converted("mobilevit", target)
    case, trace = artifact.golden()[0], tapped(artifact)
    for name, reference in case.outputs.items():
        output = trace.values[trace.outputs[name]]
        assert output.shape == reference.shape
        np.testing.assert_allclose(output, reference, atol=1e-5 * np.abs(reference).max())
    (given,) = trace.inputs.values()
    np.testing.assert_array_equal(trace.values[given], case.inputs["image"])


@pytest.mark.parametrize("target", TARGETS)
def test_every_operator_is_shown_with_its_tensors(
    target: str, converted: Callable[..., Artifact]
) -> None:
    artifact = converted("mobilevit", target)
    trace = tapped(artifact)
    graph = artifact.manifest.graph
    assert graph is not None
    shown = Counter(operator.kind for operator in trace.operators)
    assert {k: n for k, n in graph.operators.items() if k != "const"} == shown
    known = set(trace.inputs.values())
    for operator in trace.operators:
        assert set(operator.reads) <= known, operator  # in order of execution
        assert set(operator.writes) <= set(trace.values), operator
        known.update(operator.writes)


def test_memory_that_a_plan_uses_twice_is_not(converted: Callable[..., Artifact]) -> None:
    """A value overwritten by a later one would no longer be its operator's result."""
    trace = tapped(converted("mobilevit", "executorch"))
    checked = 0
    for operator in trace.operators:
        if operator.kind == "Sigmoid":
            x, y = trace.values[operator.reads[0]], trace.values[operator.writes[0]]
            np.testing.assert_allclose(y, 1 / (1 + np.exp(-x.astype(np.float64))), atol=1e-6)
            checked += 1
    assert checked > 20


def test_a_package_inside_a_program_is_looked_into(converted: Callable[..., Artifact]) -> None:
    artifact = converted("classifier", Recipe("executorch", backend="coreml"))
    trace = tapped(artifact)
    assert "conv" in {operator.kind for operator in trace.operators}
    (name,) = trace.outputs
    reference = artifact.golden()[0].outputs[name]
    np.testing.assert_allclose(trace.values[trace.outputs[name]], reference, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("runtime", ["tflite", "executorch", "mil"])
def test_a_file_that_does_not_run_is_one_line(runtime: str, tmp_path: Path) -> None:
    file = tmp_path / "damaged"
    file.write_bytes(b"nothing of the kind" * 9)
    with pytest.raises((RuntimeFailure, UnverifiableError)) as caught:
        trace_file(runtime, file, {}, inputs=[], outputs=[], time_limit_s=60)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_the_runtime_agrees_with_itself(converted: Callable[..., Artifact]) -> None:
    """XNNPACK fuses less where each value is an output, and computes the same."""
    artifact = converted("mobilevit", "executorch")
    case, trace = artifact.golden()[0], tapped(artifact)
    names = {"inputs": list(case.inputs), "outputs": list(case.outputs)}
    (plain,) = run_file("executorch", artifact.path, [case.inputs], **names).results
    for name, output in plain.items():
        shown = trace.values[trace.outputs[name]]
        np.testing.assert_allclose(shown, output, atol=2e-6 * np.abs(output).max())
