"""Does the saved file compute what its source computes? Metrics, tolerances and the verdict.

Works on NumPy arrays alone, so that a file can be verified where there is no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .artifact import Arrays, GoldenCase
from .manifest import CaseRecord, OutputMetrics, ParityRecord


@dataclass(frozen=True)
class Tolerance:
    """The bound on an output's relative error, and why it is what it is."""

    relative_error: float
    reason: str


TOLERANCES = {
    "fp32": Tolerance(
        1e-5,
        "rounding through the deepest reference network stays below 2e-6, while the smallest "
        "fault worth the name, an epsilon of 1e-6 for 1e-5, is above 1e-5 under loud weights",
    ),
}


def compare(name: str, reference: NDArray[Any], actual: NDArray[Any]) -> OutputMetrics:
    """Metrics of one output; both arrays have the same shape and are finite."""
    a = reference.astype(np.float64)
    b = actual.astype(np.float64)
    error = b - a
    max_abs = float(np.abs(error).max(initial=0.0))
    scale = float(np.abs(a).max(initial=0.0))
    power, noise = float((a * a).sum()), float((error * error).sum())
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    top1, top5 = _agreement(a, b)
    return OutputMetrics(
        name=name,
        max_abs_error=max_abs,
        # An all-zero reference has no scale: any error is then as large as it can be.
        relative_error=max_abs / scale if scale else float(max_abs > 0),
        snr_db=10 * np.log10(max(power, 1e-300) / noise).item() if noise else None,
        cosine=float((a * b).sum()) / norms if norms else float(noise == 0),
        top1=top1,
        top5=top5,
    )


def _agreement(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Top-1 and top-5 agreement of (B, classes); None for other shapes or too few classes."""
    if a.ndim != 2 or a.shape[1] < 2:
        return None, None
    top1 = float((a.argmax(1) == b.argmax(1)).mean())
    if a.shape[1] < 5:
        return top1, None
    first_a, first_b = (np.argsort(-x, axis=1, kind="stable")[:, :5] for x in (a, b))
    overlap = [len(np.intersect1d(p, q)) / 5 for p, q in zip(first_a, first_b, strict=True)]
    return top1, float(np.mean(overlap))


def judge(
    cases: Sequence[GoldenCase],
    results: Sequence[Arrays],
    *,
    precision: str,
    runtime: str,
) -> ParityRecord:
    """The verdict on a file whose outputs on `cases` were `results`.

    Fails on the first thing that is wrong in kind (a missing output, another shape or type, a
    value that is not finite), then on relative error. What cannot be judged is unverified:
    no case, a source that does not return finite values, or outputs that do not depend on the
    input, which would agree whatever the file computed.
    """
    tolerance = TOLERANCES[precision].relative_error
    records: list[CaseRecord] = []

    def verdict(which: Any, reason: str) -> ParityRecord:
        return ParityRecord(which, reason, tolerance, runtime, tuple(records))

    if not cases:
        return verdict("unverified", "there was no input to try")
    for case, result in zip(cases, results, strict=True):
        fault = _fault_in_kind(case, result)
        if fault is not None:
            return verdict(*fault)
        metrics = tuple(compare(n, case.outputs[n], result[n]) for n in case.outputs)
        records.append(CaseRecord(case.name, case.kind, metrics))

    worst_case, worst = max(
        ((record, output) for record in records for output in record.outputs),
        key=lambda pair: pair[1].relative_error,
    )
    if worst.relative_error > tolerance:
        return verdict(
            "fail",
            f"relative error {worst.relative_error:.1e} in {worst.name} on {worst_case.name}, "
            f"over {tolerance:.0e}",
        )
    for case, result in zip(cases, results, strict=True):
        for name, reference in case.outputs.items():
            if reference.dtype.kind in "iub" and not np.array_equal(reference, result[name]):
                return verdict("fail", f"the whole numbers of {name} differ on {case.name}")
    dull = _insensitive(cases)
    if dull is not None:
        return verdict("unverified", dull)
    kinds = {case.kind for case in cases}
    tried = f"{len(cases)} inputs" if "photo" in kinds else f"{len(cases)} inputs, no photo"
    return verdict("pass", f"relative error at most {worst.relative_error:.1e} on {tried}")


def _fault_in_kind(case: GoldenCase, result: Arrays) -> tuple[str, str] | None:
    missing = sorted(set(case.outputs) - set(result))
    if missing:
        return "fail", f"the file has no output {missing[0]} (it has {', '.join(sorted(result))})"
    for name, reference in case.outputs.items():
        actual = result[name]
        if actual.shape != reference.shape:
            return "fail", f"{name} has shape {actual.shape}, the source's is {reference.shape}"
        if actual.dtype != reference.dtype:
            return "fail", f"{name} is {actual.dtype}, the source's is {reference.dtype}"
        if not np.isfinite(reference.astype(np.float64)).all():
            return "unverified", f"the source itself returns NaN or infinity in {name}"
        if not np.isfinite(actual.astype(np.float64)).all():
            return "fail", f"{name} holds NaN or infinity on {case.name}"
    return None


def _insensitive(cases: Sequence[GoldenCase]) -> str | None:
    """Why agreement on these cases shows nothing, if so."""
    first = cases[0].outputs
    sizes = {array.size for array in first.values()}
    if not sizes or max(sizes) == 0:
        return "the source returns nothing"
    if len(cases) == 1:
        return "one input cannot show whether the output depends on it"
    if all(np.array_equal(first[n], case.outputs[n]) for n in first for case in cases[1:]):
        return "the source's output is the same for every input, so agreement shows nothing"
    return None
