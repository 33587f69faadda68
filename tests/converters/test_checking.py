"""Verdicts from what runtimes return, with stand-ins for the runtimes themselves."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import checking, twin
from converters.artifact import GoldenCase
from converters.checking import CheckedFile, Twin, check_file, runtimes_of
from converters.errors import RuntimeFailure, UnverifiableError, UsageError
from converters.manifest import GraphSummary
from converters.recipe import Recipe
from converters.runtimes.base import FileRun

FILE = Path("net.mlpackage")
RNG = np.random.default_rng(0)
GOLDEN = [
    GoldenCase(
        str(i), "random", {"x": RNG.random((1, 3))}, {"y": RNG.random((1, 9)).astype(np.float32)}
    )
    for i in range(2)
]
COREML = Recipe("coreml")
HALF = Recipe("coreml", precision="fp16")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """`ran(mil=..., coreml=...)`: each runtime is off by so much, or raises; gives its calls."""

    def stand_in(**errors: float | Exception) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def run_file(kind: str, file: Path, cases: Any, **options: Any) -> FileRun:
            calls.append({"kind": kind, **options})
            error = errors[kind]
            if isinstance(error, Exception):
                raise error
            results = tuple({"y": case.outputs["y"] * np.float32(1 + error)} for case in GOLDEN)
            return FileRun(f"{kind} 1.0", (), (), GraphSummary({"relu": 1}), None, results)

        monkeypatch.setattr(checking, "run_file", run_file)
        return calls

    return stand_in


def verdict(checked: CheckedFile) -> tuple[str, str]:
    return checked.parity.verdict, checked.parity.reason


def test_each_target_has_its_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert runtimes_of(Recipe("tflite")) == ("tflite",)
    assert runtimes_of(COREML) == ("mil",)
    assert runtimes_of(COREML, "both") == ("mil", "coreml")
    assert runtimes_of(COREML, "coreml") == ("coreml",)
    monkeypatch.setattr("sys.platform", "darwin")
    assert runtimes_of(COREML) == ("mil", "coreml")
    assert runtimes_of(COREML, "evaluator") == ("mil",)
    with pytest.raises(UsageError, match="--runtime is for CoreML packages, not for tflite"):
        runtimes_of(Recipe("tflite"), "both")


def test_names_go_along_in_their_order(ran: Callable[..., list[dict[str, Any]]]) -> None:
    calls = ran(tflite=0.0)
    check_file(Path("net.tflite"), GOLDEN, Recipe("tflite"), timed_runs=5)
    (call,) = calls
    assert (call["inputs"], call["outputs"], call["timed_runs"]) == (["x"], ["y"], 5)


def test_an_estimate_is_never_timed(ran: Callable[..., list[dict[str, Any]]]) -> None:
    calls = ran(mil=0.0)
    check_file(FILE, GOLDEN, COREML, timed_runs=5)
    assert [call["timed_runs"] for call in calls] == [0]


@pytest.mark.parametrize(
    ("evaluator", "framework", "expected"),
    [
        (0.0, 0.0, "pass"),
        (1e-3, 0.0, "fail"),
        (0.0, 1e-3, "fail"),
        (0.0, UnverifiableError("no such operator"), "unverified"),
        (1e-3, UnverifiableError("no such operator"), "fail"),
    ],
)
def test_of_two_runtimes_the_worse_counts(
    ran: Callable[..., Any], evaluator: Any, framework: Any, expected: str
) -> None:
    ran(mil=evaluator, coreml=framework)
    checked = check_file(FILE, GOLDEN, COREML, runtime="both")
    assert checked.parity.verdict == expected
    assert checked.parity.runtime is not None and "mil 1.0" in checked.parity.runtime


def test_what_cannot_be_judged_is_unverified(ran: Callable[..., Any]) -> None:
    ran(mil=UnverifiableError(f"{FILE}: the evaluator does not know the operator x"))
    checked = check_file(FILE, GOLDEN, COREML)
    assert verdict(checked) == ("unverified", "the evaluator does not know the operator x")
    ran(mil=RuntimeFailure("crashed"))
    with pytest.raises(RuntimeFailure, match="crashed"):
        check_file(FILE, GOLDEN, COREML)


def test_half_precision_is_judged_by_noise(ran: Callable[..., Any]) -> None:
    ran(mil=0.02)  # 34 dB
    state, reason = verdict(check_file(FILE, GOLDEN, HALF, twin=Twin(FILE, "pass")))
    assert state == "fail" and re.fullmatch("34.0 dB in y on [01], under 50 dB", reason)


def test_half_precision_needs_its_twin(
    ran: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran(mil=1e-3)
    assert verdict(check_file(FILE, GOLDEN, HALF)) == (
        "unverified",
        "its fp32 twin is not beside it",
    )
    for which in ("fail", "unverified"):
        checked = check_file(FILE, GOLDEN, HALF, twin=Twin(Path("t"), which))  # type: ignore[arg-type]
        assert verdict(checked) == (which, f"its fp32 twin t does not pass ({which})")
    monkeypatch.setattr(twin, "compare_files", lambda fp32, fp16: ["softmax: axis", "relu: gone"])
    assert verdict(check_file(FILE, GOLDEN, HALF, twin=Twin(FILE, "pass"))) == (
        "fail",
        "differs from its fp32 twin: softmax: axis, and 1 more",
    )
    monkeypatch.setattr(twin, "compare_files", lambda fp32, fp16: [])
    state, reason = verdict(check_file(FILE, GOLDEN, HALF, twin=Twin(FILE, "pass")))
    assert state == "pass" and "at least 60.0 dB on 2 inputs" in reason
    assert reason.endswith("its fp32 twin rounded, operator by operator")


LABELS = [f"class {i}" for i in range(9)]
IMAGE = Recipe("coreml", input_kind="image")


def _wrong_label(result: dict[str, Any]) -> None:
    result["classLabel"] = np.array("class 8" if str(result["classLabel"]) != "class 8" else "x")


def _wrong_probabilities(result: dict[str, Any]) -> None:
    result["classLabel_probs"] = result["classLabel_probs"][::-1]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda result: None, ("pass", None)),
        (_wrong_label, ("fail", "classLabel is not the class of the largest value of y")),
        (_wrong_probabilities, ("fail", "classLabel_probs is not the softmax of y")),
        (lambda r: r.pop("classLabel"), ("fail", "the classifier's label or probabilities are")),
    ],
)
def test_a_classifier_has_to_name_the_largest(
    change: Callable[[dict[str, Any]], object],
    expected: tuple[str, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run_file(kind: str, file: Path, cases: Any, **options: Any) -> FileRun:
        results = []
        for case in GOLDEN:
            exponentials = np.exp(case.outputs["y"][0].astype(float))
            result = {
                "y": case.outputs["y"],
                "classLabel": np.array(LABELS[case.outputs["y"].argmax()]),
                "classLabel_probs": exponentials / exponentials.sum(),
            }
            change(result)
            results.append(result)
        return FileRun("mil 1.0", (), (), GraphSummary({}), None, tuple(results))

    monkeypatch.setattr(checking, "run_file", run_file)
    which, reason = verdict(check_file(FILE, GOLDEN, IMAGE, labels=LABELS))
    assert which == expected[0]
    assert expected[1] is None or reason.startswith(expected[1])
