"""Measurements for other programs: JSON with everything, CSV and Parquet with a row a repeat."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from converters.errors import MissingExtraError, one_line

from .documents import to_document
from .medians import repeat_median
from .records import Measurement, Repeat

# A row's columns and their types in Parquet. Times are ms, memory is MiB, temperatures are °C.
COLUMNS = {
    "run": "string",
    "created": "string",
    "name": "string",
    "sha256": "string",
    "target": "string",
    "precision": "string",
    "inputs": "string",
    "device": "string",
    "device_kind": "string",
    "model": "string",
    "soc": "string",
    "os": "string",
    "emulated": "bool",
    "runner": "string",
    "backend": "string",
    "threads": "int64",
    "cores": "int64",
    "beside": "string",
    "labels": "string",
    "validity": "string",
    "reasons": "string",
    "run_peak_memory": "float64",
    "repeat": "int64",
    "median": "float64",
    "load": "float64",
    "compile": "float64",
    "first": "float64",
    "peak_memory": "float64",
    "delegate": "string",
    "faults": "string",
    "thermal_status_before": "int64",
    "thermal_status_after": "int64",
    "battery_temperature_before": "float64",
    "battery_temperature_after": "float64",
    "samples": "list",
}
_FORMULA = ("=", "+", "-", "@")  # what a spreadsheet takes for the start of a formula
_BATCH = 1000  # rows of a row group


def write_json(measurements: Iterable[Measurement], stream: TextIO) -> None:
    """A list of whole measurements, one a line."""
    stream.write("[")
    for count, one in enumerate(measurements):
        stream.write(",\n" if count else "\n")
        json.dump(to_document(one), stream)
    stream.write("\n]\n")


def write_csv(measurements: Iterable[Measurement], stream: TextIO) -> None:
    """A row a repeat; its samples are in one cell, with spaces between them.

    Control characters in foreign text become question marks, and a text that a spreadsheet would
    run as a formula has an apostrophe before it.
    """
    writer = csv.DictWriter(stream, [*COLUMNS], lineterminator="\n")
    writer.writeheader()
    for one in measurements:
        for row in rows(one):
            row["samples"] = " ".join(map(repr, row["samples"] or ()))
            writer.writerow({column: _cell(value) for column, value in row.items()})


def write_parquet(measurements: Iterable[Measurement], path: Path) -> None:
    """A row a repeat, its samples as a list. Raises MissingExtraError without pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None

    types = {
        "string": pyarrow.string(),
        "bool": pyarrow.bool_(),
        "int64": pyarrow.int64(),
        "float64": pyarrow.float64(),
        "list": pyarrow.list_(pyarrow.float64()),
    }
    schema = pyarrow.schema([(column, types[kind]) for column, kind in COLUMNS.items()])
    with parquet.ParquetWriter(path, schema) as writer:
        for batch in _batches(row for one in measurements for row in rows(one)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))


def _batches(found: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in found:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def rows(measurement: Measurement) -> Iterator[dict[str, Any]]:
    """A row for each repeat, foreign text made safe to show."""
    subject, device, options = measurement.subject, measurement.device, measurement.options
    whole = {
        "run": measurement.identity,
        "created": measurement.created.isoformat(),
        "name": subject.name,
        "sha256": subject.sha256,
        "target": subject.target,
        "precision": subject.precision,
        "inputs": "; ".join(subject.inputs),
        "device": device.serial,
        "device_kind": device.kind,
        "model": device.model,
        "soc": device.soc,
        "os": device.os,
        "emulated": device.emulated,
        "runner": options.runner,
        "backend": options.backend,
        "threads": options.threads,
        "cores": options.cores,
        "beside": "; ".join(options.beside),
        "labels": json.dumps(dict(measurement.labels), sort_keys=True),
        "validity": measurement.validity,
        "reasons": "; ".join(measurement.reasons),
        "run_peak_memory": measurement.peak_memory,
    }
    for one in measurement.repeats:
        row = whole | _repeat_row(one)
        yield {key: one_line(v, len(v) or 1) if isinstance(v, str) else v for key, v in row.items()}


def _repeat_row(repeat: Repeat) -> dict[str, Any]:
    timings, before, after = repeat.timings, repeat.before, repeat.after
    return {
        "repeat": repeat.index,
        "median": repeat_median(repeat),
        "load": timings.load,
        "compile": timings.compile,
        "first": timings.first,
        "peak_memory": timings.peak_memory,
        "delegate": timings.delegate,
        "faults": "; ".join(repeat.faults),
        "thermal_status_before": before.thermal_status,
        "thermal_status_after": after.thermal_status,
        "battery_temperature_before": before.battery_temperature,
        "battery_temperature_after": after.battery_temperature,
        "samples": timings.samples,
    }


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
