"""What the documentation names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


@pytest.fixture(scope="module")
def tests() -> set[str]:
    files = (ROOT / "tests").rglob("test_*.py")
    return {
        name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_named_exist(page: Path, tests: set[str]) -> None:
    named = set(re.findall(r"`(test_\w+)`", page.read_text()))
    assert named <= tests, named - tests


def test_every_fault_of_a_measurement_has_its_test() -> None:
    text = (ROOT / "docs" / "measuring.md").read_text().partition("## When something goes wrong")[2]
    rows = [line for line in text.split("\n") if line.startswith("| ")][1:]
    assert len(rows) > 30
    assert [row for row in rows if not re.search(r"`test_\w+`[^|]*\|$", row)] == []
