"""A saved file is run on its golden cases and judged; an fp16 file also by its fp32 twin."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from . import parity
from .artifact import Arrays, GoldenCase
from .errors import UnverifiableError, UsageError
from .manifest import GraphSummary, HostLatency, ParityRecord, Verdict
from .recipe import Recipe
from .runtimes.base import TIME_LIMIT_S, run_file
from .targets import target_named

_PROBABILITY_ERROR = 1e-5  # the classifier computes in fp32, whatever the network's precision

# They compute what a device would, in a way that says nothing about its time.
_ESTIMATES = ("mil", "executorch_coreml")

CoreMLRuntime = Literal["evaluator", "coreml", "both"]


@dataclass(frozen=True)
class CheckedFile:
    """What running a saved file on its golden cases showed."""

    parity: ParityRecord
    graph: GraphSummary | None = None
    latency: HostLatency | None = None


@dataclass(frozen=True)
class Twin:
    """The fp32 file that an fp16 file was made beside, and what its own check showed."""

    file: Path
    verdict: Verdict


def runtimes_of(recipe: Recipe, chosen: CoreMLRuntime | None = None) -> tuple[str, ...]:
    """The modules of `converters.runtimes` that judge a file of this recipe.

    A CoreML package is judged by the evaluator, and on a Mac by the framework as well; `chosen`
    is the user's wish. Raises UsageError for a wish where there is no choice.
    """
    own = target_named(recipe.target).runtime(recipe)
    if own != "mil":
        if chosen is not None:
            raise UsageError(f"--runtime is for CoreML packages, not for {recipe.target}")
        return (own,)
    if chosen is None:
        chosen = "both" if sys.platform == "darwin" else "evaluator"
    assert chosen in get_args(CoreMLRuntime)
    return {"evaluator": ("mil",), "coreml": ("coreml",), "both": ("mil", "coreml")}[chosen]


def check_file(
    file: Path,
    golden: Sequence[GoldenCase],
    recipe: Recipe,
    *,
    labels: Sequence[str] | None = None,
    run: bool = True,
    runtime: CoreMLRuntime | None = None,
    twin: Twin | None = None,
    timed_runs: int = 0,
    time_limit_s: float = TIME_LIMIT_S,
    warm: bool = False,
) -> CheckedFile:
    """Runs `file` on the golden inputs in a child process and judges what it returns.

    `labels` are the names of the first output's classes; a file that answers with one of them has
    to name the largest. An fp16 file also has to be its `twin`, rounded. With several runtimes the
    verdict is the worst, and the metrics are those of the runtime that gave it. `warm` is that of
    `run_file`.

    Raises RuntimeFailure when a runtime cannot run the file at all.
    """
    if not run:
        tolerance = parity.TOLERANCES[recipe.precision].relative_error
        return CheckedFile(ParityRecord("unverified", "not checked: --no-verify", tolerance))
    checks = [
        _run(file, golden, recipe, kind, labels, timed_runs, time_limit_s, warm)
        for kind in runtimes_of(recipe, runtime)
    ]
    checked = min(checks, key=lambda check: _ORDER.index(check.parity.verdict))
    if len(checks) > 1:
        ran = " and ".join(check.parity.runtime for check in checks if check.parity.runtime)
        checked = replace(checked, parity=replace(checked.parity, runtime=ran))
    if recipe.precision == "fp16" and checked.parity.verdict == "pass":
        checked = replace(checked, parity=_compared_with_twin(checked.parity, file, twin))
    return checked


_ORDER: tuple[Verdict, ...] = ("fail", "unverified", "pass")


def _run(
    file: Path,
    golden: Sequence[GoldenCase],
    recipe: Recipe,
    kind: str,
    labels: Sequence[str] | None,
    timed_runs: int,
    time_limit_s: float,
    warm: bool,
) -> CheckedFile:
    names = list(golden[0].outputs) if golden else []
    try:
        outcome = run_file(
            kind,
            file,
            [case.inputs for case in golden],
            inputs=list(golden[0].inputs) if golden else [],
            outputs=names,
            timed_runs=0 if kind in _ESTIMATES else timed_runs,
            time_limit_s=time_limit_s,
            warm=warm,
        )
    except UnverifiableError as error:
        tolerance = parity.TOLERANCES[recipe.precision].relative_error
        reason = error.message.removeprefix(f"{file}: ")
        return CheckedFile(ParityRecord("unverified", reason, tolerance))
    results, fault = list(outcome.results), None
    if recipe.input_kind == "image" and labels is not None:
        results, fault = _without_classifier(results, names[0], labels)
    record = parity.judge(golden, results, precision=recipe.precision, runtime=outcome.runtime)
    if fault is not None and record.verdict == "pass":
        record = replace(record, verdict="fail", reason=fault)
    return CheckedFile(record, outcome.graph, outcome.latency)


def _without_classifier(
    results: Sequence[Arrays], scores: str, labels: Sequence[str]
) -> tuple[list[Arrays], str | None]:
    """The network's own outputs, and what is wrong with those that its classifier adds to them."""
    from .targets.coreml_classes import LABEL, PROBABILITIES, class_outputs

    fault = None
    kept: list[Arrays] = []
    for result in results:
        kept.append({k: v for k, v in result.items() if k not in (LABEL, PROBABILITIES)})
        if not {scores, LABEL, PROBABILITIES} <= set(result):
            fault = "the classifier's label or probabilities are missing"
            continue
        expected = class_outputs(result[scores], labels)
        if str(result[LABEL]) != str(expected[LABEL]):
            fault = f"{LABEL} is not the class of the largest value of {scores}"
        elif result[PROBABILITIES].shape != expected[PROBABILITIES].shape or not np.allclose(
            result[PROBABILITIES], expected[PROBABILITIES], rtol=0, atol=_PROBABILITY_ERROR
        ):
            fault = f"{PROBABILITIES} is not the softmax of {scores}"
    return kept, fault


def _compared_with_twin(record: ParityRecord, file: Path, twin: Twin | None) -> ParityRecord:
    """The verdict on an fp16 file whose outputs are close, from its program.

    Half precision hides faults in its own rounding; what differs from the verified fp32 program
    in anything but casts and rounding is one.
    """
    from .twin import compare_files

    if twin is None:
        return replace(record, verdict="unverified", reason="its fp32 twin is not beside it")
    if twin.verdict != "pass":
        reason = f"its fp32 twin {twin.file.name} does not pass ({twin.verdict})"
        return replace(record, verdict=twin.verdict, reason=reason)
    differences = compare_files(twin.file, file)
    if differences:
        more = f", and {len(differences) - 1} more" if len(differences) > 1 else ""
        reason = f"differs from its fp32 twin: {differences[0]}{more}"
        return replace(record, verdict="fail", reason=reason)
    return replace(record, reason=f"{record.reason}; its fp32 twin rounded, operator by operator")
