"""Results files, and when a later run may add to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report

ROWS = [{"model": "a", "ms": 1.5}]


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return tmp_path


def test_what_was_written_is_kept() -> None:
    assert report.kept("speed", ("numpy",)) == []
    report.write("speed", "medians", ("numpy",), ROWS)
    assert report.kept("speed", ("numpy",)) == ROWS


@pytest.mark.parametrize(
    ("part", "entry"), [("machine", "processor"), ("machine", "cpus"), ("tools", "numpy")]
)
def test_rows_of_another_machine_or_tool_are_not_kept(
    results: Path, part: str, entry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report.write("speed", "medians", ("numpy",), ROWS)
    path = results / "speed.json"
    document = json.loads(path.read_text())
    document[part][entry] = "another"
    path.write_text(json.dumps(document))
    assert report.kept("speed", ("numpy",)) == []
    assert "speed.json" in capsys.readouterr().err


def test_a_run_stopped_while_it_writes_leaves_the_earlier_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report.write("speed", "medians", ("numpy",), ROWS)

    def stopped(path: Path, text: str, encoding: str) -> None:
        path.write_bytes(text.encode()[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_text", stopped)
        report.write("speed", "medians", ("numpy",), ROWS * 2)
    assert report.kept("speed", ("numpy",)) == ROWS
