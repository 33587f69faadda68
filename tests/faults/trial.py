"""Faulty files are run on the golden cases and judged as `mvkit verify` judges them.

What is not noticed is run again, beside the sound file, on inputs that the check has not seen and
as exactly as the runtime can. A fault that changes nothing there beyond the tolerance is
equivalent; any other has survived.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from converters import Artifact, parity
from converters.artifact import Arrays, GoldenCase
from converters.runtimes.base import split_cases
from converters.targets import target_named
from converters.verify import recipe_of
from tests.faults import mil_faults, pte_faults, tflite_faults
from tests.faults.mutations import Fault

FAULTS_OF = {
    "tflite": tflite_faults.faults,
    "coreml": mil_faults.faults,
    "executorch": pte_faults.faults,
}
FRESH_INPUTS = 32
_CHILD_LIMIT_S = 900.0
_SMALL = 5  # times the tolerance

Result = Literal["failed", "refused", "unverified", "equivalent", "survived"]


@dataclass(frozen=True)
class Outcome:
    """What became of a fault, and the check's reason.

    `change` is the largest relative error of an output that the fault makes on the fresh inputs,
    where it was not noticed; `seen` that on the golden inputs, rounding included.
    """

    fault: Fault
    result: Result
    reason: str
    seen: float | None = None
    change: float | None = None

    @property
    def noticed(self) -> bool:
        return self.result in ("failed", "refused")

    @property
    def why(self) -> str:
        """Why a fault that counts was not noticed."""
        if self.change is None:
            return self.reason
        changes = f"{self.change:.1e} on fresh inputs, {self.seen:.1e} on the golden ones"
        if self.change < _SMALL * parity.TOLERANCES["fp32"].relative_error:
            return f"small: {changes}"
        return f"the golden inputs hardly reach it: {changes}"


@dataclass(frozen=True)
class Trial:
    """A sound artifact, and the faults to put into its file one at a time."""

    artifact: Artifact
    faults: Sequence[Fault]


@dataclass(frozen=True)
class _Refusal:
    result: Literal["refused", "unverified"]
    reason: str


@dataclass(frozen=True)
class _Job:
    file: Path
    cases: Sequence[Arrays]
    outputs: tuple[str, ...]


def try_faults(trials: Sequence[Trial], folder: Path) -> list[Outcome]:
    """Makes each fault's file in `folder` and says what came of it.

    The artifacts all have one target, and with it one runtime.
    """
    first = trials[0].artifact
    runtime = target_named(first.manifest.target).runtime(recipe_of(first))
    golden = [trial.artifact.golden() for trial in trials]
    fresh = [fresh_inputs(cases) for cases in golden]
    outputs = [tuple(cases[0].outputs) for cases in golden]

    faults = [(which, fault) for which, trial in enumerate(trials) for fault in trial.faults]
    files = [folder / f"{i}{first.path.suffix}" for i in range(len(faults))]
    for file, (_, fault) in zip(files, faults, strict=True):
        fault.write(file)
    inputs = [[case.inputs for case in cases] for cases in golden]
    jobs = [_Job(f, inputs[w], outputs[w]) for f, (w, _) in zip(files, faults, strict=True)]
    outcomes = [
        _judged(fault, golden[which], answer, runtime)
        for (which, fault), answer in zip(faults, _run(runtime, jobs, folder), strict=True)
    ]

    unseen = [i for i, outcome in enumerate(outcomes) if outcome.result == "survived"]
    sound = [_Job(t.artifact.path, fresh[w], outputs[w]) for w, t in enumerate(trials)]
    faulty = [_Job(files[i], fresh[faults[i][0]], outputs[faults[i][0]]) for i in unseen]
    answers = _run(runtime, [*sound, *faulty], folder, exact=True)
    for i, answer in zip(unseen, answers[len(sound) :], strict=True):
        change = _change(answers[faults[i][0]], answer)
        survived = change > parity.TOLERANCES["fp32"].relative_error
        outcomes[i] = replace(
            outcomes[i], result="survived" if survived else "equivalent", change=change
        )
    for file in files:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    return outcomes


def _judged(
    fault: Fault,
    golden: Sequence[GoldenCase],
    answer: list[Arrays] | _Refusal,
    runtime: str,
) -> Outcome:
    if isinstance(answer, _Refusal):
        return Outcome(fault, answer.result, answer.reason)
    record = parity.judge(golden, answer, precision="fp32", runtime=runtime)
    results: dict[str, Result] = {"fail": "failed", "pass": "survived"}
    return Outcome(
        fault, results.get(record.verdict, "unverified"), record.reason, record.relative_error
    )


def _change(sound: list[Arrays] | _Refusal, faulty: list[Arrays] | _Refusal) -> float:
    """The largest relative error of an output; infinite where the file fails on an input."""
    assert not isinstance(sound, _Refusal), sound.reason
    if isinstance(faulty, _Refusal):
        return math.inf
    changes = [
        float(np.abs(b[name] - array).max() / np.abs(array).max())
        for a, b in zip(sound, faulty, strict=True)
        for name, array in a.items()
    ]
    return max(math.inf if math.isnan(change) else change for change in changes)


def fresh_inputs(golden: Sequence[GoldenCase]) -> list[Arrays]:
    """Images that are none of the golden cases': photos mirrored and turned, and noise.

    The images are (1, C, S, S), square.
    """
    rng = np.random.default_rng(1)
    photos = [case.inputs for case in golden if case.kind == "photo"]
    noise = next(case.inputs for case in golden if case.kind == "random")
    fresh: list[Arrays] = []
    for i in range(FRESH_INPUTS // 2):
        photo, turns = photos[i % len(photos)], i // len(photos)
        turned = {name: np.rot90(a[..., ::-1], turns, (2, 3)) for name, a in photo.items()}
        fresh.append({name: np.ascontiguousarray(a) for name, a in turned.items()})
        fresh.append({name: rng.permuted(a, axis=None) for name, a in noise.items()})
    return fresh


def _run(
    runtime: str, jobs: Sequence[_Job], folder: Path, *, exact: bool = False
) -> list[list[Arrays] | _Refusal]:
    """What each file returns for its cases, or why it does not."""
    requests: list[dict[str, Any]] = []
    stored: dict[int, str] = {}
    for number, job in enumerate(jobs):
        if id(job.cases) not in stored:
            stored[id(job.cases)] = str(folder / f"given-{len(stored)}.npz")
            named = {f"{i}/{n}": a for i, case in enumerate(job.cases) for n, a in case.items()}
            np.savez(stored[id(job.cases)], allow_pickle=False, **named)
        requests.append(
            {
                "file": str(job.file),
                "given": stored[id(job.cases)],
                "cases": len(job.cases),
                "inputs": list(job.cases[0]),
                "outputs": job.outputs,
                "returned": str(folder / f"returned-{number}.npz"),
            }
        )
    answers: list[dict[str, str]] = []
    while len(answers) < len(jobs):
        request = {"runtime": runtime, "exact": exact, "jobs": requests[len(answers) :]}
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.run_files"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=_CHILD_LIMIT_S,
            cwd=Path(__file__).parents[2],
        )
        answers += [json.loads(line) for line in done.stdout.splitlines()]
        if done.returncode > 0:
            raise RuntimeError(done.stderr)
        if done.returncode < 0:
            answers.append({"error": f"the runtime crashed (signal {-done.returncode})"})
    return [_answer(*pair) for pair in zip(requests, answers, strict=True)]


def _answer(request: dict[str, Any], answer: dict[str, str]) -> list[Arrays] | _Refusal:
    if "unverifiable" in answer:
        return _Refusal("unverified", answer["unverifiable"])
    if "error" in answer:
        return _Refusal("refused", answer["error"])
    with np.load(request["returned"]) as archive:
        return list(split_cases(archive, request["cases"]))
