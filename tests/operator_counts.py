"""The operators of every reference model's file, as `tests/operator_counts.json` keeps them.

    python -m tests.operator_counts     writes the file anew

Counts do not depend on the machine. A change that alters them is one that is meant to: look at the
difference, then commit it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from converters.manifest import GraphSummary
from converters.recipe import Recipe
from mobilevit_kit.jobs import Job, Workbench, run_job
from mobilevit_kit.models import list_models
from mobilevit_kit.source import SourceRequest

FILE = Path(__file__).with_suffix(".json")
TARGETS = ("tflite", "coreml", "executorch")

Counts = dict[str, dict[str, dict[str, int]]]


def kept() -> Counts:
    """Operators and how often the file has them, by model and target."""
    counts: Counts = json.loads(FILE.read_text(encoding="utf-8"))
    return counts


def counted(graph: GraphSummary | None) -> Mapping[str, int]:
    assert graph is not None
    return dict(sorted(graph.operators.items()))


def main() -> None:
    counts: Counts = {}
    for name in list_models():
        bench = Workbench()
        for target in TARGETS:
            print(name, target, file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                request, recipe = SourceRequest(name), Recipe(target)
                job = Job(request, recipe, Path(folder), time_on_host=False)
                artifact = run_job(job, bench=bench).artifact
                assert artifact is not None
            counts.setdefault(name, {})[target] = dict(counted(artifact.manifest.graph))
    FILE.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
