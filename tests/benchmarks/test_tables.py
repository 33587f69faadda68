"""The tables of the documents fit the results that are kept, and the documents have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.report import RESULTS
from benchmarks.tables import TABLES, harness, ratio

DOCUMENTS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", [one for one in TABLES if (RESULTS / f"{one}.json").exists()])
def test_the_document_has_what_was_measured(name: str) -> None:
    rows = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    lines = [line for line in TABLES[name](rows) if line.startswith("|")]
    document = DOCUMENTS / ("harness.md" if name == "harness" else "performance.md")
    assert len(lines) > 2 and set(lines) <= set(document.read_text(encoding="utf-8").splitlines())


def test_a_ratio_has_its_interval() -> None:
    assert ratio({"median": 1.5, "low": 1.449, "high": 2}) == "1.50 (1.45 to 2.00)"
    assert ratio(None) == "-"


def test_parts_of_the_harness_have_their_load_and_their_verdicts() -> None:
    part = {
        "part": "push",
        "method": "200 MB",
        "measured": "2026-03-01T12:00:00+00:00",
        "load_average": [0.1, 0.9],
        "rows": [
            {"what": "the first time", "median_s": 1.2345, "goal_s": 5.0, "met": True},
            {"what": "again", "median_s": 0.6, "goal_s": None, "met": False},
        ],
    }
    assert list(harness([part])) == [
        "### Push\n",
        "200 MB.\n",
        "Measured 2026-03-01, load average 0.1 before and 0.9 after.\n",
        "| what | median s | goal s | met |",
        "| --- | --- | --- | --- |",
        "| the first time | 1.23 | 5 | yes |",
        "| again | 0.6 | - | no |",
        "",
    ]
