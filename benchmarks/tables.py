"""The tables of docs/performance.md and docs/harness.md, from the results of the other benchmarks.

    python -m benchmarks.tables [latency foreign operators convert_time harness ...]

Prints Markdown. Nothing is measured here.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.report import RESULTS

Row = dict[str, Any]
OPERATORS_SHOWN = 9


def latency(rows: Sequence[Row]) -> Iterable[str]:
    """A row for each model, both targets beside each other; a table for each number of threads."""
    for threads in sorted({row["threads"] for row in rows}):
        found = {(r["model"], r["target"]): r for r in rows if r["threads"] == threads}
        targets = dict.fromkeys(target for _, target in found)
        yield f"{threads} thread{'s' if threads > 1 else ''}:\n"
        heads = ("stock / ours", "unfused / ours", "ours, ms", "of peak")
        yield from table(
            ["model", *(f"{target}: {head}" for target in targets for head in heads)],
            (
                [model, *(cell for target in targets for cell in _latencies(found, model, target))]
                for model in dict.fromkeys(model for model, _ in found)
            ),
        )


def _latencies(found: dict[tuple[str, str], Row], model: str, target: str) -> list[str]:
    row = found.get((model, target))
    if row is None:
        return ["-"] * 4
    ratios = [ratio(row.get(f"{name}_ratio")) for name in ("stock", "unfused")]
    return [*ratios, f"{row['ours_ms']:.1f}", f"{row['share_of_peak']:.0%}"]


def foreign(rows: Sequence[Row]) -> Iterable[str]:
    yield from table(
        ["network", "what is hard in it", "target", "stock / ours", "unfused / ours", "ours, ms"],
        (
            [
                row["model"],
                row["has"],
                row["target"],
                ratio(row["stock_ratio"]),
                ratio(row.get("unfused_ratio")),
                f"{row['ours_ms']:.1f}",
            ]
            for row in rows
        ),
    )


def operators(rows: Sequence[Row]) -> Iterable[str]:
    """A table for each model and target, its slowest operations alone."""
    for (model, target), group in itertools.groupby(rows, lambda r: (r["model"], r["target"])):
        yield f"{model}, {target}:\n"
        yield from table(
            ["operation", "count", "ms", "share", "GFLOP/s"],
            (
                [r["operation"], str(r["count"]), f"{r['ms']:.2f}", r["share"], str(r["gflops"])]
                for r in itertools.islice(group, OPERATORS_SHOWN)
            ),
        )


def convert_time(rows: Sequence[Row]) -> Iterable[str]:
    yield from table(
        ["model", "target", "stock, s", "ours, s", "with the proof, s", "stock / ours"],
        (
            [
                r["model"],
                r["target"],
                f"{r['stock_s']:.1f}",
                f"{r['ours_s']:.2f}",
                f"{r['proved_s']:.1f}",
                f"{r['ratio']:.1f}",
            ]
            for r in rows
        ),
    )


def rewrites(rows: Sequence[Row]) -> Iterable[str]:
    yield from table(
        ["model", "target", "rewrite", "places", "lost without it", "gained by it alone"],
        (
            [
                r["model"],
                r["target"],
                r["rewrite"],
                str(r["places"]),
                ratio(r["loss"]),
                ratio(r["gain"]),
            ]
            for r in rows
        ),
    )


def harness(rows: Sequence[Row]) -> Iterable[str]:
    """A table for each part, with the load of the machine that it was measured on."""
    for part in rows:
        before, after = part["load_average"]
        yield f"### {part['part'].capitalize()}\n"
        yield f"{part['method']}.\n"
        yield f"Measured {part['measured'][:10]}, load average {before} before and {after} after.\n"
        heads = [name.replace("_", " ") for name in part["rows"][0]]
        yield from table(heads, ([_cell(one) for one in row.values()] for row in part["rows"]))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def ratio(found: Row | None) -> str:
    """A median with its interval."""
    if found is None:
        return "-"
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    for cells in (heads, ["---"] * len(heads), *rows):
        yield f"| {' | '.join(cells)} |"
    yield ""


TABLES: dict[str, Callable[[Sequence[Row]], Iterable[str]]] = {
    "latency": latency,
    "foreign": foreign,
    "operators": operators,
    "rewrites": rewrites,
    "convert_time": convert_time,
    "harness": harness,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(TABLES), choices=list(TABLES))
    for name in parser.parse_args().names:
        path = RESULTS / f"{name}.json"
        if path.exists():
            print("\n".join(TABLES[name](json.loads(path.read_text(encoding="utf-8"))["rows"])))


if __name__ == "__main__":
    main()
