"""The device harness: how fast its commands are, and how far its figures can be believed.

    python -m benchmarks.harness
    python -m benchmarks.harness --parts devices push --draft

| part | what it measures |
|---|---|
| devices | `mvkit devices` and `clean` with eight fake phones |
| push | 200 MB to a fake phone, and again when they are there already |
| overhead | what a repeat of `mvkit bench` costs beyond the runner's own time |
| store | a store with a million samples listed, compared and exported |
| statistics | how often `compare` errs, with the noise of this machine |
| runners | the native runners beside what the vendors' Python packages measure |

Each part is written to `benchmarks/results/harness.json` as soon as it is measured; the others that
are there stay, if they are of this machine and these tools. `--draft` measures shortly and writes
nothing. It wants a quiet machine: each part is kept with the load before and after it, its own
work included.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.harness_parts.part import DRAFT, Effort, Part

PARTS = ("devices", "push", "overhead", "store", "statistics", "runners")
TOOLS = ("numpy", "sqlalchemy", "ai-edge-litert", "executorch", "torch")
METHOD = "each part has its own method; times are wall clock"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--models", nargs="+", metavar="NAME", help="of the part runners")
    parser.add_argument("--pairs", type=int, metavar="N", help="of the part runners, at least 2")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of converted files")
    parser.add_argument("--draft", action="store_true", help="measure shortly, write nothing")
    options = parser.parse_args()
    chosen = {
        "models": options.models and tuple(options.models),
        "pairs": options.pairs,
        "cache": options.cache,
    }
    effort = DRAFT if options.draft else Effort()
    effort = replace(effort, **{name: given for name, given in chosen.items() if given})
    kept = [] if options.draft else report.kept("harness", TOOLS)
    for name in options.parts:
        print(name, file=sys.stderr)
        row = measured(name, effort)
        report.show(f"{name}: {row['method']}", row["rows"])
        kept = with_part(kept, row)
        if not options.draft:
            report.write("harness", METHOD, TOOLS, kept)


def measured(name: str, effort: Effort) -> dict[str, Any]:
    """A part as the results have it."""
    module = importlib.import_module(f"benchmarks.harness_parts.{name}")
    before = os.getloadavg()[0]
    part: Part = module.measure(effort)
    return {
        "part": name,
        "method": part.method,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": [round(one, 2) for one in (before, os.getloadavg()[0])],
        "rows": list(part.rows),
        **part.more,
    }


def with_part(kept: Sequence[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts with this one in its place, in the order of PARTS."""
    found = {one["part"]: one for one in kept} | {row["part"]: row}
    return [found[name] for name in PARTS if name in found]


if __name__ == "__main__":
    main()
