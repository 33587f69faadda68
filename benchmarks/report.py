"""What every benchmark does with its figures: a table to read, a JSON file to keep."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from converters import provenance

RESULTS = Path(__file__).parent / "results"


def publish(
    name: str,
    method: str,
    tools: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    **more: Any,
) -> None:
    """Prints `rows` as a table and writes them to `results/<name>.json` with the machine.

    `more` goes into the file alone.
    """
    show(method, rows)
    write(name, method, tools, rows, **more)


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints a table whose columns are named in the first row."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    Console(width=160).print(table)


def write(
    name: str,
    method: str,
    tools: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    **more: Any,
) -> None:
    """Writes `results/<name>.json`."""
    document = {
        "benchmark": name,
        "method": method,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        **setting(tools),
        "rows": list(rows),
        **more,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    # An interrupted run must not take the rows of earlier ones with it.
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(path)


def kept(name: str, tools: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of `results/<name>.json`; none if they are of another machine or other tools."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return []
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if any(document[part] != now for part, now in setting(tools).items()):
        print(f"{path}: of another machine or other tools, begun anew", file=sys.stderr)
        return []
    rows: list[dict[str, Any]] = document["rows"]
    return rows


def setting(tools: Sequence[str]) -> dict[str, Any]:
    """The machine and the versions of tools, as a results file states them."""
    return {
        "machine": asdict(provenance.host()),
        "tools": {tool: version(tool) for tool in tools},
    }


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
