"""How the error of a file grows along the depth of its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .align import Aligner, Layouts, Match, relative_error
from .source_trace import SourceTrace
from .taps import FileTrace


@dataclass(frozen=True)
class GrowthRow:
    """A module's output, and the tensor of the file that is the same or stands in its place.

    `rounding` is the relative error that the source itself has there, in fp32. The file's is no
    fault while it is of that order; `diverges` says that it is not.
    """

    module: str
    kind: str
    tensor: str
    relative_error: float
    rounding: float
    diverges: bool


def growth_table(
    trace: SourceTrace,
    tapped: FileTrace,
    matches: Mapping[str, Sequence[Match]],
    noise: float,
    repaired: SourceTrace | None = None,
    layouts: Layouts | None = None,
) -> tuple[GrowthRow, ...]:
    """One row for each value that a module returns and the file has too, in order of computation.

    What several modules return is the outermost one's. Beyond a fault nothing is equal, so
    `repaired`, the source run again with the file's wrong value, says which tensor is which.
    """
    found = _nearest(matches)
    if repaired is not None and len(repaired.values) == len(trace.values):
        pairs = zip(trace.values, repaired.values, strict=True)
        aligner = Aligner(
            (
                replace(after, rounding=before.rounding, inner=(), inner_rounding=())
                for before, after in pairs
            ),
            noise,
            layouts,
        )
        beyond = {key: aligner.matches(array) for key, array in tapped.values.items()}
        found = _nearest(beyond) | found
    outermost = {module.value: module for module in trace.modules}  # it returns last
    rows = []
    for index, module in sorted(outermost.items()):
        if index not in found:
            continue
        key, match = found[index]
        value = trace.values[index]
        error = relative_error(match.order.of(value.array), tapped.values[key])
        rows.append(
            GrowthRow(
                module=module.path,
                kind=module.kind,
                tensor=tapped.name(key),
                relative_error=error,
                rounding=value.rounding,
                diverges=error > noise * value.rounding,
            )
        )
    return tuple(rows)


def _nearest(matches: Mapping[str, Sequence[Match]]) -> dict[int, tuple[str, Match]]:
    """For each value of the source the nearest of the file's tensors."""
    found: dict[int, tuple[str, Match]] = {}
    for key, candidates in matches.items():
        for match in candidates:
            if match.inner or match.rearranged:
                continue
            if match.value not in found or match.error < found[match.value][1].error:
                found[match.value] = key, match
    return found
