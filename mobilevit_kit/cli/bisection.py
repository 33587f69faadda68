"""What `mvkit verify --bisect` prints: where a file diverges, and how its error grows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converters.bisection.artifact import BisectedArtifact
    from converters.bisection.bisect import Fault, NamedOperator

_NAME_WIDTH = 60  # characters of a tensor's name, which in TFLite is a path of paths


def print_bisection(file: Path, result: BisectedArtifact) -> None:
    """The error of each module's output in order of computation, then what was found."""
    from .console import plain_table, print_line, print_table

    bisection = result.bisection
    table = plain_table(
        "module", "class", "in the file", "relative error", "rounding alone", "",
        right=("relative error", "rounding alone"),
    )  # fmt: skip
    for row in bisection.growth:
        table.add_row(
            row.module or "(the network itself)",
            row.kind,
            _short(row.tensor),
            f"{row.relative_error:.1e}",
            f"{row.rounding:.1e}",
            "diverges" if row.diverges else "",
        )
    print_table(table)
    for line in _findings(file, result):
        print_line(line)


def bisection_document(result: BisectedArtifact) -> dict[str, Any]:
    """The same as plain data for JSON."""
    from dataclasses import asdict

    parity = result.verification.checked.parity
    return {
        "verdict": parity.verdict,
        "reason": parity.reason,
        "only_as_an_app_runs_it": result.only_as_an_app_runs_it,
        **asdict(result.bisection),
    }


def _findings(file: Path, result: BisectedArtifact) -> list[str]:
    bisection, parity = result.bisection, result.verification.checked.parity
    lines = [f"{file}: {parity.verdict} on {parity.runtime}: {parity.reason}"]
    looked = f"  looked into on {bisection.case} with {bisection.runtime}"
    if bisection.fault is not None:
        return [*lines, looked, *_fault_lines(bisection.fault)]
    if bisection.status == "rounding":
        found = (
            "  no value is further off than rounding explains: the source itself, in single "
            "precision, is that far from the exact result"
        )
    elif result.only_as_an_app_runs_it:
        found = (
            "  nothing diverges with these kernels: the fault is in those that an app gets "
            f"({parity.runtime})"
        )
    else:
        found = "  nothing diverges"
    return [*lines, looked, found]


def _fault_lines(fault: Fault) -> list[str]:
    block = f"{fault.block} ({fault.block_kind})" if fault.block else "the network itself"
    lines = [f"  first block     {block}"]
    inside = [path for path in fault.modules if path != fault.block]
    if inside:
        lines.append(f"    of its parts  {', '.join(inside)}")
    if fault.is_missing:
        lines.append(
            f"  the file has nothing for its {fault.stands_for}; the value as it is goes to"
        )
    lines.append(f"  first operator  {_operator(fault.operator)}")
    if fault.operator.operands:
        lines.append(f"    its operands  {', '.join(map(_short, fault.operator.operands))}")
    lines += [f"    or            {_operator(one)}" for one in fault.suspects]
    if fault.stands_for is None:
        lines.append(
            "  no single value of the file proves it: several faults, or one that comes back"
        )
    elif not fault.is_missing:
        lines.append(
            f"  proof: with the file's value in the place of its {fault.stands_for}, the source "
            f"returns what the file returns"
        )
    return lines


def _operator(operator: NamedOperator) -> str:
    place = f" of {operator.place}" if operator.place else ""
    return f"{operator.kind} (number {operator.index}{place}), gives {_short(operator.result)}"


def _short(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else f"...{name[-_NAME_WIDTH + 3 :]}"
