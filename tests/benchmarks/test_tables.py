"""The tables of docs/performance.md fit the results that are kept, and the document has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.report import RESULTS
from benchmarks.tables import TABLES, ratio

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"


@pytest.mark.parametrize("name", [one for one in TABLES if (RESULTS / f"{one}.json").exists()])
def test_the_document_has_what_was_measured(name: str) -> None:
    rows = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    lines = [line for line in TABLES[name](rows) if line.startswith("|")]
    assert len(lines) > 2 and set(lines) <= set(DOCUMENT.read_text(encoding="utf-8").splitlines())


def test_a_ratio_has_its_interval() -> None:
    assert ratio({"median": 1.5, "low": 1.449, "high": 2}) == "1.50 (1.45 to 2.00)"
    assert ratio(None) == "-"
