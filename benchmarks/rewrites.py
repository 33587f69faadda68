"""What each rewrite brings: alone, and by what is lost without it.

    python -m benchmarks.rewrites [--models NAME ...] [--targets tflite ...] [--processes 3]

Of a network that all rewrites have been applied to, every rewrite that found a place in it is left
out in turn ("without"), and applied with no other ("alone"). Files take turns in a process as in
`benchmarks.latency`; "loss" is the time without the rewrite over the time with all of them, "gain"
the time without any rewrite over the time with this one alone. A file that the kit's own emitter
does not cover without a rewrite is the vendor's converter's: the gain is then that of the emitter
too, which the column "emitter" says.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.latency import CACHE, TARGETS, TOOLS, a_photo, made
from benchmarks.process import in_fresh_process
from benchmarks.timing import Subject, Times, compare, measure
from converters.artifact import load_artifact
from converters.recipe import Recipe
from mobilevit_kit.jobs import Job
from mobilevit_kit.models import list_models
from mobilevit_kit.source import SourceRequest

MODELS = ("mobilevit_xs", "mobilenetv4_hybrid_medium", "edgenext_xx_small", "efficientvit_m3")
METHOD = (
    "fp32, batch 1, one thread; loss = without the rewrite / with all, gain = with none / with "
    "this one alone, of files that take turns in a process; medians over processes"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=list_models())
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--processes", type=int, default=3, help="at least 2")
    parser.add_argument("--seconds", type=float, default=8.0, help="of turns in a process")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for converted files")
    parser.add_argument("--convert-only", action="store_true", help="fill the cache and stop")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for model in options.models:
        for target in options.targets:
            print(f"{model} {target}", file=sys.stderr)
            files = files_of(model, target, options.cache)
            if options.convert_only:
                continue
            rows += rows_of(model, target, files, options)
            report.write("rewrites", METHOD, TOOLS, rows)
    if rows:
        report.show(METHOD, [cells(row) for row in rows])


def files_of(model: str, target: str, cache: Path) -> dict[str, Path]:
    """With all rewrites, with none, and without and with each that finds a place."""
    folder = cache / "rewrites" / f"{model}-{target}"
    everything = _file(model, Recipe(target), folder / "all")
    applied = load_artifact(everything).manifest.rewrites
    wanted: dict[str, tuple[str, ...]] = {"none": ()}
    for name in applied:
        wanted[f"without {name}"] = tuple(other for other in applied if other != name)
        wanted[f"only {name}"] = (name,)
    return {"all": everything} | {
        label: _file(model, Recipe(target, rewrites=names), folder / label)
        for label, names in wanted.items()
    }


def rows_of(
    model: str, target: str, files: Mapping[str, Path], options: argparse.Namespace
) -> list[dict[str, Any]]:
    applied = load_artifact(files["all"]).manifest.rewrites
    photo = a_photo(model)
    subjects = {label: Subject(file, photo) for label, file in files.items()}
    processes = measure(
        target, subjects, threads=1, seconds=options.seconds, processes=options.processes
    )
    times = {label: [one[label] for one in processes] for label in subjects}
    return [
        {
            "model": model,
            "target": target,
            "rewrite": name,
            "places": places,
            "loss": asdict(compare(times[f"without {name}"], times["all"])),
            "gain": asdict(compare(times["none"], times[f"only {name}"])),
            "emitter": "/".join(
                load_artifact(files[label]).manifest.route.emitter  # type: ignore[union-attr]
                for label in (f"without {name}", f"only {name}")
            ),
            "all_ms": _median(times["all"]),
            "none_ms": _median(times["none"]),
        }
        for name, places in applied.items()
    ]


def _file(model: str, recipe: Recipe, folder: Path) -> Path:
    job = Job(SourceRequest(model), recipe, folder, verify=False, time_on_host=False)
    return in_fresh_process(made, job)


def _median(times: list[Times]) -> float:
    return statistics.median(one.wall_ms for one in times)


def cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's figures for the table."""
    shown = dict(row)
    for name in ("loss", "gain"):
        ratio = row[name]
        shown[name] = f"{ratio['median']:.2f} {ratio['low']:.2f}-{ratio['high']:.2f}"
    return shown


if __name__ == "__main__":
    main()
