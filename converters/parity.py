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
from .errors import one_line
from .manifest import CaseRecord, OutputMetrics, ParityRecord


@dataclass(frozen=True)
class Tolerance:
    """The bounds on an output's error, and why they are what they are."""

    relative_error: float
    least_snr_db: float | None
    reason: str


TOLERANCES = {
    "fp32": Tolerance(
        1e-5,
        None,
        "rounding through the deepest reference network stays below 2e-6, while the smallest "
        "fault worth the name, an epsilon of 1e-6 for 1e-5, is above 1e-5 under loud weights",
    ),
    "fp16": Tolerance(
        0.05,
        50.0,
        "half precision rounds each value to 11 bits, some 70 dB, of which every reference network "
        "keeps more than 56; smaller faults are found by comparing with the fp32 twin",
    ),
}


_LARGEST = float(np.finfo(np.float64).max)
_SMALLEST = 1e-300  # stands for a power of zero in a ratio


def compare(name: str, reference: NDArray[Any], actual: NDArray[Any]) -> OutputMetrics:
    """Metrics of one output; both arrays have the same shape and are finite."""
    a, b = _as_real(reference), _as_real(actual)
    scale = float(np.abs(a).max(initial=0.0))
    with np.errstate(over="ignore"):  # clipped below: the manifest holds finite numbers only
        error = np.abs(b - a).max(initial=0.0)
        relative = error / scale if scale else float(error > 0)
    # Squares of large or tiny values leave the range of a double; those of shares do not.
    peak = max(scale, float(np.abs(b).max(initial=0.0))) or 1.0
    a, b = a / peak, b / peak
    power, noise = float((a * a).sum()), float(((b - a) ** 2).sum())
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    snr = 10 * float(np.log10(max(power, _SMALLEST) / max(noise, _SMALLEST)))
    top1, top5 = _agreement(a, b)
    return OutputMetrics(
        name=name,
        max_abs_error=min(float(error), _LARGEST),
        # An all-zero reference has no scale: any error is then as large as it can be.
        relative_error=min(float(relative), _LARGEST),
        snr_db=snr if error else None,
        cosine=float((a * b).sum()) / norms if norms else float(not error),
        top1=top1,
        top5=top5,
    )


def _as_real(array: NDArray[Any]) -> NDArray[np.float64]:
    """As doubles; a complex number becomes two, for both parts count."""
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], axis=-1)
    return array.astype(np.float64)


def _agreement(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Top-1 and top-5 agreement of (B, classes); None for other shapes or too few classes."""
    if a.ndim != 2 or a.shape[0] < 1 or a.shape[1] < 2:
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

    Fails on the first thing that is wrong in kind (a missing or added output, another shape or
    type, a value that is not finite), then on relative error. What cannot be judged is unverified:
    no case, a case without a value to compare, a source that does not return finite values, or
    outputs that do not depend on the input, which would agree whatever the file computed. Where
    only some outputs are so, the reason names them.
    """
    bounds = TOLERANCES[precision]
    tolerance = bounds.relative_error
    records: list[CaseRecord] = []

    def verdict(which: Any, reason: str) -> ParityRecord:
        # A damaged file may have any names for its outputs.
        return ParityRecord(which, one_line(reason, 400), tolerance, runtime, tuple(records))

    if not cases:
        return verdict("unverified", "there was no input to try")
    if any(set(case.outputs) != set(cases[0].outputs) for case in cases):
        return verdict("unverified", "the source's outputs are not the same for every input")
    for case, result in zip(cases, results, strict=True):
        fault = _fault_in_kind(case, result)
        if fault is not None:
            return verdict(*fault)
        metrics = tuple(compare(n, case.outputs[n], result[n]) for n in case.outputs)
        records.append(CaseRecord(case.name, case.kind, metrics))

    if not any(array.size for array in cases[0].outputs.values()):
        return verdict("unverified", "the source returns nothing")
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
    noisiest = _noisiest(records)
    if bounds.least_snr_db is not None and noisiest and noisiest[1] < bounds.least_snr_db:
        return verdict(
            "fail", f"{noisiest[1]:.1f} dB in {noisiest[0]}, under {bounds.least_snr_db:g} dB"
        )
    for case, result in zip(cases, results, strict=True):
        for name, reference in case.outputs.items():
            if not _agree(reference, result[name], tolerance):
                return verdict("fail", f"the whole numbers of {name} differ on {case.name}")
    if len(cases) == 1:
        return verdict("unverified", "one input cannot show whether the output depends on it")
    dull = _insensitive(cases, tolerance)
    if len(dull) == len(cases[0].outputs):
        return verdict(
            "unverified",
            "the source's output is the same for every input, so agreement shows nothing",
        )
    tried = f"{len(cases)} inputs"
    if not any(case.kind == "photo" for case in cases):
        tried += ", no photo"
    if dull:
        tried += f"; the same for every input: {', '.join(dull)}"
    if bounds.least_snr_db is not None and noisiest:
        return verdict("pass", f"at least {noisiest[1]:.1f} dB on {tried}")
    return verdict("pass", f"relative error at most {worst.relative_error:.1e} on {tried}")


def _noisiest(records: Sequence[CaseRecord]) -> tuple[str, float] | None:
    """The output with the lowest SNR, in dB; None where none has any noise."""
    noisy = [
        (f"{output.name} on {record.name}", output.snr_db)
        for record in records
        for output in record.outputs
        if output.snr_db is not None
    ]
    return min(noisy, key=lambda pair: pair[1], default=None)


def _fault_in_kind(case: GoldenCase, result: Arrays) -> tuple[str, str] | None:
    missing = sorted(set(case.outputs) - set(result))
    if missing:
        return "fail", f"the file has no output {missing[0]} (it has {', '.join(sorted(result))})"
    added = sorted(set(result) - set(case.outputs))
    if added:
        return "fail", f"the file has an output {added[0]} that the source does not have"
    for name, reference in case.outputs.items():
        actual = result[name]
        if actual.shape != reference.shape:
            return "fail", f"{name} has shape {actual.shape}, the source's is {reference.shape}"
        if actual.dtype != reference.dtype:
            return "fail", f"{name} is {actual.dtype}, the source's is {reference.dtype}"
        if not np.isfinite(reference).all():
            return "unverified", f"the source itself returns NaN or infinity in {name}"
        if not np.isfinite(actual).all():
            return "fail", f"{name} holds NaN or infinity on {case.name}"
    return None


def _agree(reference: NDArray[Any], actual: NDArray[Any], tolerance: float) -> bool:
    """Whether the two count as the same; whole numbers have no tolerance."""
    if reference.dtype.kind in "iub" or reference.shape != actual.shape:
        return np.array_equal(reference, actual)
    return compare("", reference, actual).relative_error <= tolerance


def _insensitive(cases: Sequence[GoldenCase], tolerance: float) -> list[str]:
    """The outputs on which a file that gave one answer to every input would pass."""
    return [
        name
        for name, first in cases[0].outputs.items()
        if all(_agree(first, case.outputs[name], tolerance) for case in cases[1:])
    ]
