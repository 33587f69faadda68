"""What every benchmark does with its figures: a table to read, a JSON file to keep."""

from __future__ import annotations

import json
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
    table = Table(title=method)
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    Console(width=160).print(table)
    document = {
        "benchmark": name,
        "method": method,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": asdict(provenance.host()),
        "tools": {tool: version(tool) for tool in tools},
        "rows": list(rows),
        **more,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
