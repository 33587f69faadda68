"""Every operator has a known answer."""

from __future__ import annotations

import importlib
from pathlib import Path

from converters.runtimes.mil.ops import OPERATORS
from tests.converters.runtimes.mil.known import Case

FAMILIES = sorted(
    path.stem for path in Path(__file__).parent.glob("test_ops_*.py") if path != Path(__file__)
)


def cases() -> list[Case]:
    """The cases of all families."""
    modules = [importlib.import_module(f"tests.converters.runtimes.mil.{f}") for f in FAMILIES]
    return [case for module in modules for case in getattr(module, "CASES", ())]


def test_every_operator_of_the_families_has_known_answers() -> None:
    families = {name for name, f in OPERATORS.items() if f.__module__.startswith(_PACKAGE)}
    assert len(families) >= 120
    assert families - {case.operator for case in cases()} == set()


def test_most_operators_have_several() -> None:
    counts = dict.fromkeys(OPERATORS, 0)
    for case in cases():
        counts[case.operator] += 1
    assert sum(count >= 2 for count in counts.values()) >= 100


_PACKAGE = "converters.runtimes.mil.ops."
