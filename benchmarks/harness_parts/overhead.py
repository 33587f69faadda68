"""What a repeat costs beyond the runner's own time: conditions, processes, reading, storing."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from pathlib import Path
from unittest import mock

from android_harness.building import build_bundle
from android_harness.cache import cache_folder
from android_harness.devices import open_device
from android_harness.measure import Request
from android_harness.measure import measure as measure_latency
from android_harness.records import Options, Repeat
from android_harness.runners.choice import choose_runner
from android_harness.store import open_store
from benchmarks.latency import our_file
from converters.artifact import load_artifact
from tests.fake_phone.state import RUNS_HERE

from .part import Effort, Part, timing_row
from .phones import adb_version, connected_phones

MODEL = "efficientvit_m0"
GOAL = 1.0
METHOD = (
    f"{MODEL}, fp32, the defaults of `mvkit bench`, into a SQLite file; wall time from the start "
    "of one repeat to the start of the next, less what the runner reports of its own (load, "
    "compile, first run, warm-up, samples)"
)


def overhead(serial: str, file: Path, repeats: int) -> list[float]:
    """Seconds, for each repeat but the last."""
    artifact = load_artifact(file)
    runner = choose_runner("mvkit", artifact.manifest)
    request = Request(artifact, runner, Options(repeats=repeats))
    starts: list[float] = []

    def phase(what: str) -> None:
        if what.startswith("repeat ") and ":" not in what:
            starts.append(time.perf_counter())

    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(Path(folder, "runs.sqlite"), create=True) as store,
    ):
        found = measure_latency(open_device(serial), request, store, phase=phase)
    spans = (end - start for start, end in itertools.pairwise(starts))
    return [span - own_seconds(one) for span, one in zip(spans, found.repeats, strict=False)]


def own_seconds(repeat: Repeat) -> float:
    """What a runner reports of its own time."""
    timings = repeat.timings
    spans = (timings.load, timings.compile, timings.first, *timings.warmup)
    return sum(one or 0.0 for one in (*spans, *(timings.samples or ()))) / 1e3


def measure(effort: Effort) -> Part:
    rows = []
    for target in ("tflite", "executorch"):
        file = our_file(MODEL, target, effort.cache)
        build_bundle(target, "host")
        rows.append(timing_row(f"{target}, host", overhead("host", file, effort.rounds), GOAL))
        # The phones of a benchmark have folders of their own, where no runner is built.
        built = mock.patch.dict(os.environ, {"MVKIT_CACHE": str(cache_folder("runners").parent)})
        with built, connected_phones(1, properties=RUNS_HERE) as (phone,):
            found = overhead(phone.serial, file, effort.rounds)
        rows.append(timing_row(f"{target}, fake phone", found, GOAL))
    return Part(METHOD, rows, {"adb": adb_version()})
