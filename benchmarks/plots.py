"""Draws `benchmarks/results/latency.json` for docs/performance.md.

    python -m benchmarks.plots

Writes docs/performance-ratio.svg (stock time over ours, with its interval) and
docs/performance-share.svg (share of the matrix product's rate), one thread, a bar for each model
and target.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from benchmarks.report import RESULTS

DOCS = Path(__file__).parents[1] / "docs"
TARGETS = {"tflite": ("TFLite", "#1f77b4"), "executorch": ("ExecuTorch", "#ff7f0e")}


def main() -> None:
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "mvkit"  # the same figures give the same file
    document = json.loads((RESULTS / "latency.json").read_text(encoding="utf-8"))
    rows = [row for row in document["rows"] if row["threads"] == 1]
    models = list(dict.fromkeys(row["model"] for row in rows))
    ratio = _bars(models, "stock time / our time, one thread")
    for row in rows:
        found = row["stock_ratio"]
        spread = [[found["median"] - found["low"]], [found["high"] - found["median"]]]
        _bar(ratio, models, row, found["median"], xerr=spread)
    ratio.axvline(1, color="black", linewidth=0.8)
    _save(ratio, "performance-ratio.svg")
    share = _bars(models, "share of the matrix product's GFLOP/s, one thread")
    for row in rows:
        _bar(share, models, row, row["share_of_peak"])
    share.set_xlim(0, 1)
    _save(share, "performance-share.svg")


def _bars(models: list[str], title: str) -> Any:
    _, axes = plt.subplots(figsize=(7, 0.36 * len(models) + 1.2), layout="constrained")
    axes.set_yticks(range(len(models)), models)
    axes.invert_yaxis()
    axes.set_xlabel(title)
    axes.grid(axis="x", linewidth=0.4)
    axes.set_axisbelow(True)
    return axes


def _bar(axes: Any, models: list[str], row: Any, value: float, **more: Any) -> None:
    label, colour = TARGETS[row["target"]]
    shift = -0.2 if row["target"] == "tflite" else 0.2
    taken = axes.get_legend_handles_labels()[1]
    axes.barh(
        models.index(row["model"]) + shift,
        value,
        height=0.38,
        color=colour,
        label=label if label not in taken else None,
        error_kw={"linewidth": 0.8},
        **more,
    )


def _save(axes: Any, name: str) -> None:
    axes.legend(loc="lower right")
    axes.figure.savefig(DOCS / name, metadata={"Date": None})
    plt.close(axes.figure)


if __name__ == "__main__":
    main()
