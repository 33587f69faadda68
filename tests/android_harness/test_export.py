"""Measurements for other programs."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from android_harness import export
from android_harness.documents import from_document
from android_harness.export import COLUMNS, write_csv, write_json, write_parquet
from android_harness.records import Measurement, Timings
from converters.errors import MissingExtraError
from tests.android_harness.measured import EMULATOR, PHONE, measurement, measurements, repeat

parquet = pytest.importorskip("pyarrow.parquet")


def as_csv(*exported: Measurement) -> list[dict[str, str]]:
    stream = io.StringIO(newline="")
    write_csv(exported, stream)
    return [*csv.DictReader(io.StringIO(stream.getvalue(), newline=""))]


@settings(max_examples=40, deadline=None)
@given(measured=measurements)
def test_json_holds_everything(measured: Measurement) -> None:
    stream = io.StringIO()
    write_json([measured, measured], stream)
    assert stream.getvalue().isascii()
    documents = json.loads(stream.getvalue())
    assert [from_document(one, Measurement) for one in documents] == [measured, measured]


def test_no_runs_are_an_empty_list() -> None:
    stream = io.StringIO()
    write_json([], stream)
    assert json.loads(stream.getvalue()) == []
    assert as_csv() == []


def test_csv_has_a_row_a_repeat() -> None:
    measured = measurement()
    rows = as_csv(measured, measurement(device=EMULATOR))
    assert len(rows) == 10
    assert [row["repeat"] for row in rows[:5]] == list("01234")
    first, last = rows[0], rows[-1]
    assert [*first] == [*COLUMNS]
    assert first["run"] == measured.identity
    assert (first["emulated"], last["emulated"]) == ("False", "True")
    assert json.loads(first["labels"]) == {"branch": "main"}
    assert first["created"] == "2026-03-01T12:00:00+00:00"
    assert float(first["median"]) == 10.0
    samples = tuple(float(text) for text in first["samples"].split())
    assert samples == measured.repeats[0].timings.samples
    assert (first["soc"], last["soc"]) == ("Tensor G3", "")


def test_csv_of_a_tool_without_samples() -> None:
    timings = Timings(summary={"median": 9.5})
    (row,) = as_csv(measurement(repeats=(replace(repeat(0, 1.0), timings=timings),)))
    assert (row["median"], row["samples"], row["load"]) == ("9.5", "", "")


@pytest.mark.parametrize(
    ("serial", "cell"),
    [
        ("a\x1b[31m\nb", "a?[31m b"),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("@x", "'@x"),
        ("-1+1", "'-1+1"),
        ("+1", "'+1"),
        ("a,\"b'", "a,\"b'"),
        ("\udc80", "?"),
    ],
)
def test_hostile_text_in_csv(serial: str, cell: str) -> None:
    rows = as_csv(measurement(device=replace(PHONE, serial=serial)))
    assert {row["device"] for row in rows} == {cell}


def test_numbers_below_zero_stay_numbers() -> None:
    measured = measurement(peak_memory=-1.0)
    assert {row["run_peak_memory"] for row in as_csv(measured)} == {"-1.0"}


def test_parquet_has_a_row_a_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_BATCH", 3)
    timings = Timings(summary={"median": 9.5})
    printed = measurement(repeats=(replace(repeat(0, 1.0), timings=timings),), device=EMULATOR)
    exported = [measurement(), measurement(), printed]
    write_parquet(exported, tmp_path / "runs.parquet")
    table = parquet.read_table(tmp_path / "runs.parquet")
    assert table.column_names == [*COLUMNS]
    rows = table.to_pylist()
    assert [row["run"] for row in rows] == [one.identity for one in exported for _ in one.repeats]
    assert tuple(rows[0]["samples"]) == exported[0].repeats[0].timings.samples
    assert rows[0]["cores"] is None and rows[0]["emulated"] is False
    assert rows[-1]["samples"] is None and rows[-1]["emulated"] is True


@settings(max_examples=20, deadline=None)
@given(measured=measurements)
def test_any_measurement_fits_the_columns(
    tmp_path_factory: pytest.TempPathFactory, measured: Measurement
) -> None:
    as_csv(measured)
    path = tmp_path_factory.mktemp("any") / "runs.parquet"
    write_parquet([measured], path)
    assert parquet.read_table(path).num_rows == len(measured.repeats)


def test_parquet_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"install 'mobilevit-kit\[parquet\]'"):
        write_parquet([measurement()], tmp_path / "runs.parquet")
    assert list(tmp_path.iterdir()) == []
