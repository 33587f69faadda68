"""`--runner`: which program measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from android_harness.runners.benchmark_model import BenchmarkModel
from android_harness.runners.choice import choose_runner
from android_harness.runners.executor_runner import ExecutorRunner
from android_harness.runners.mvkit import MvkitRunner
from converters import Artifact
from converters.errors import UsageError
from converters.manifest import Manifest


@pytest.fixture
def manifest(converted: Callable[..., Artifact]) -> Manifest:
    return converted("mixed").manifest


def test_each_name_gives_its_runner(manifest: Manifest) -> None:
    pte = replace(manifest, target="executorch")
    assert choose_runner("mvkit", manifest) == MvkitRunner("tflite")
    assert choose_runner("mvkit", pte) == MvkitRunner("executorch")
    found = choose_runner("benchmark_model=/d/b", manifest)
    assert found == BenchmarkModel("/d/b", manifest.inputs, len(manifest.outputs))
    assert choose_runner("executor_runner=/d/e=1", pte) == ExecutorRunner("/d/e=1")


@pytest.mark.parametrize(
    ("text", "target", "why"),
    [
        ("mvkit", "coreml", "no runner for coreml files"),
        ("mvkit=/x", "tflite", "unknown; one of mvkit, benchmark_model=PATH"),
        ("", "tflite", "unknown"),
        ("x\x1b[2J", "tflite", r"x\?\[2J: unknown"),
        ("benchmark_model", "tflite", "say where it is"),
        ("benchmark_model=/b", "executorch", "does not run executorch files"),
        ("executor_runner=/b", "tflite", "does not run tflite files"),
    ],
)
def test_anything_else_is_refused(manifest: Manifest, text: str, target: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        choose_runner(text, replace(manifest, target=target))
