"""Single faults in saved files of every format, and how many of them `mvkit verify` notices.

    python -m benchmarks.faults [--faults 400] [--seed 0] [--targets tflite ...]

The faults are those of `tests/faults`, put into tiny networks of all four families with loud
weights, converted to fp32. "failed": the verdict is fail; "refused": the runtime does not run the
file; "equivalent": the output changes by less than the tolerance on 32 inputs that the check has
not seen, computed in fp64 where the runtime can; what survives changes it by more, and passes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import publish
from converters import convert
from tests.faults.mutations import Kind, choose
from tests.faults.trial import FAULTS_OF, Outcome, Trial, try_faults
from tests.networks import FAMILIES, make_case

TOOLS = ("torch", "litert-torch", "ai-edge-litert", "coremltools", "executorch")


def measure(target: str, count: int, seed: int) -> list[Outcome]:
    """What became of `count` faults in a target's files, as many in each family's."""
    with tempfile.TemporaryDirectory() as folder:
        trials = []
        for family in FAMILIES:
            case = make_case(family)
            artifact = convert(
                case.module, case.example_inputs, target, name=family, output_dir=folder,
                time_on_host=False, **case.options,
            )  # fmt: skip
            faults = FAULTS_OF[target](artifact.path)
            trials.append(Trial(artifact, choose(faults, count // len(FAMILIES), seed)))
        stage = Path(folder, "faulty")
        stage.mkdir()
        return try_faults(trials, stage)


def row(target: str, kind: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    counts = Counter(one.result for one in outcomes)
    counted = len(outcomes) - counts["equivalent"]
    noticed = counts["failed"] + counts["refused"]
    return {
        "target": target,
        "fault": kind,
        "injected": len(outcomes),
        "equivalent": counts["equivalent"],
        "failed": counts["failed"],
        "refused": counts["refused"],
        "survived": counted - noticed,
        "noticed": f"{noticed / counted:.1%}" if counted else "-",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=400, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="+", default=list(FAULTS_OF), choices=list(FAULTS_OF))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, survivors = [], []
    for target in options.targets:
        outcomes = measure(target, options.faults, options.seed)
        for kind in Kind:
            alike = [one for one in outcomes if one.fault.kind == kind]
            if alike:
                rows.append(row(target, kind, alike))
        rows.append(row(target, "all", outcomes))
        survivors += [
            {"target": target, "place": one.fault.place, "fault": one.fault.kind, "why": one.why}
            for one in outcomes
            if not one.noticed and one.result != "equivalent"
        ]
    method = f"single faults in saved fp32 files of four tiny networks, seed {options.seed}"
    publish("faults", method, TOOLS, rows, survivors=survivors)


if __name__ == "__main__":
    main()
