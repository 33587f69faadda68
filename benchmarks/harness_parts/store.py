"""A store with a million samples: saved to, listed, compared and exported."""

from __future__ import annotations

import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from android_harness.compare import compare
from android_harness.records import (
    Conditions,
    DeviceInfo,
    Measurement,
    Options,
    Repeat,
    Subject,
    Timings,
)
from android_harness.store import Store, open_store, parse_selector

from .part import Effort, Part, command, timed, timing_row

REPEATS, ITERATIONS = 5, 50  # of a run, as `mvkit bench` has them by default
GOAL = 1.0  # seconds
METHOD = (
    "{runs} runs of 5 repeats of 50 samples in a SQLite file; `mvkit` is a process of its own each "
    "time, what has no `mvkit` is a call in a process that runs already"
)
COMMANDS = {
    "mvkit runs": ["runs"],
    "mvkit runs --json, all": ["runs", "--limit", "{runs}", "--json"],
    "mvkit runs latest --show": ["runs", "latest", "--show"],
    "mvkit compare": ["compare", "latest~40", "latest"],
    "mvkit export, a run": ["export", "latest", "--format", "csv"],
}


def measure(effort: Effort) -> Part:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.sqlite"
        with open_store(path, create=True) as store:
            for index in range(effort.runs):
                store.save(_measurement(rng, index))
            more = [_measurement(rng, effort.runs + index) for index in range(effort.rounds)]
            rest = iter(more)
            rows = [
                timing_row("save a run", timed(lambda: store.save(next(rest)), len(more))),
                timing_row("list all", timed(store.select, effort.rounds), GOAL),
                timing_row("compare two", timed(lambda: _compare(store), effort.rounds), GOAL),
            ]
        for name, args in COMMANDS.items():
            filled = [arg.format(runs=effort.runs) for arg in args]
            seconds = timed(command(*filled, "--store", str(path)), effort.rounds)
            rows.append(timing_row(name, seconds, GOAL))
        size = path.stat().st_size
    return Part(METHOD.format(runs=effort.runs), rows, {"bytes_on_disk": size})


def _compare(store: Store) -> None:
    ids = [store.select([parse_selector(one)])[0].identity for one in ("latest~40", "latest")]
    compare(*store.load(ids))


def _measurement(rng: np.random.Generator, index: int) -> Measurement:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=index)
    conditions = Conditions(moment, 0, {"skin": 31.5}, 80, 29.0, False, True)
    return Measurement(
        identity=str(uuid.UUID(bytes=rng.bytes(16), version=4)),
        created=moment,
        subject=Subject(f"model{index % 10}", "ab" * 32, "tflite", "fp32", ("1x3 float32",)),
        device=DeviceInfo(f"R5CT{index % 8}", "adb", "Pixel 8", os="Android 14 (API 34)"),
        options=Options(),
        labels={"branch": "main", "commit": f"{index:07x}"},
        repeats=tuple(
            Repeat(
                number,
                Timings(5.0, None, 12.0, (11.0,) * 5, tuple(rng.lognormal(2, 0.02, ITERATIONS))),
                conditions,
                conditions,
            )
            for number in range(REPEATS)
        ),
        validity="valid",
    )
