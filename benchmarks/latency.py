"""Latency of this kit's files beside those of the stock converters, with the same weights.

    python -m benchmarks.latency                                    # all models, both targets
    python -m benchmarks.latency --models edgenext_small --threads 1 --draft

fp32 files at batch 1 on this machine, each target by its XNNPACK. "ours" is what
`converters.convert` makes by default; "stock" is timm's network through the vendor's documented
route; "unfused" is the same with timm's fused attention switched off, as somebody would who knows
the route, and absent where the network has none. Before anything is timed the files must give the
same on a photo. How files take turns, in how many processes, and what the interval means is in
`benchmarks/timing.py`. A matrix product through the same runtime takes turns with them: its rate is
the peak whose share a network reaches, with two operations for each of its multiply-accumulates.

Stock files take minutes to make; they stay in the cache, by versions of the tools. Results are
written after each model and target; those of others in `benchmarks/results/latency.json` stay, if
they are of this machine and these tools. `--draft` measures shortly and writes nothing. Ends with
status 1 if a file could not be made or gives something else.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import report
from benchmarks.process import in_fresh_process
from benchmarks.stock import GEMM_SIDE, gemm_file, has_fused_attention, stock_file
from benchmarks.timing import Subject, Times, compare, measure, outputs, within_rounds
from converters.errors import ParityError, UsageError
from converters.recipe import Recipe
from mobilevit_kit.images import sample_photos
from mobilevit_kit.jobs import Job, run_job
from mobilevit_kit.models import list_models, model_card
from mobilevit_kit.source import SourceRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

TARGETS = ("tflite", "executorch")
TOOLS = ("torch", "timm", "litert-torch", "ai-edge-litert", "executorch")
MAX_ERROR = 1e-5
CACHE = Path(".cache/latency")
DRAFT = {"seconds": 2.0, "processes": 2}
METHOD = (
    "fp32, batch 1, medians over processes of medians in ms; ratio = stock / ours within rounds of "
    "turns in one process, median over rounds, then over processes with 95% bootstrap interval"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = list_models()
    parser.add_argument("--models", nargs="+", default=names, choices=names, metavar="NAME")
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument("--seconds", type=float, default=5.0, help="of turns in a process")
    parser.add_argument("--processes", type=int, default=5, help="at least 2")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for converted files")
    parser.add_argument("--stock-only", action="store_true", help="fill the cache and stop")
    parser.add_argument("--draft", action="store_true", help=f"{DRAFT}, and write nothing")
    options = parser.parse_args()
    if options.draft:
        parser.set_defaults(**DRAFT)
        options = parser.parse_args()

    results = {} if options.draft else {key(row): row for row in report.kept("latency", TOOLS)}
    measured, failed = [], False
    for model in options.models:
        for target in options.targets:
            print(f"{model} {target}", file=sys.stderr)
            try:
                files = stock_files(model, target, options.cache)
                if options.stock_only:
                    continue
                files["ours"] = our_file(model, target, options.cache)
                rows = measure_model(model, target, files, options)
            except Exception as error:
                # What is wrong with one file must not stop the measuring of the others.
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                failed = True
                continue
            measured += rows
            results |= {key(row): row for row in rows}
            if not options.draft:
                report.write("latency", METHOD, TOOLS, in_order(results))
    if measured:
        report.show(METHOD, [cells(row) for row in measured])
    sys.exit(failed)


def stock_files(model: str, target: str, cache: Path) -> dict[str, Path]:
    """The stock file, and the one without fused attention where there is a difference."""
    files = {"stock": stock_file(model, target, fused_attention=True, cache=cache / "stock")}
    if has_fused_attention(model):
        unfused = stock_file(model, target, fused_attention=False, cache=cache / "stock")
        files["unfused"] = unfused
    return files


def our_file(model: str, target: str, cache: Path) -> Path:
    """The kit's file."""
    folder = cache / "ours"
    job = Job(SourceRequest(model), Recipe(target), folder, verify=False, time_on_host=False)
    return in_fresh_process(made, job)


def made(job: Job) -> Path:
    """The file of a job, made unless its folder has what the same code made."""
    try:
        artifact = run_job(job).artifact
    except UsageError:  # the file is of other code
        artifact = run_job(replace(job, force=True)).artifact
    assert artifact is not None  # errors were raised
    return artifact.path


def measure_model(
    model: str, target: str, files: Mapping[str, Path], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """One row for each number of threads.

    Raises ParityError where the files do not agree.
    """
    photo = a_photo(model)
    subjects = {name: Subject(file, photo) for name, file in files.items()}
    errors = agreement(outputs(target, subjects))
    square = np.random.default_rng(0).standard_normal((GEMM_SIDE, GEMM_SIDE), np.float32)
    subjects["gemm"] = Subject(gemm_file(target, options.cache / "stock"), square)
    published = model_card(model).published
    assert published is not None  # all but trained weights have figures
    rows = []
    for threads in options.threads:
        times = measure(
            target,
            subjects,
            threads=threads,
            seconds=options.seconds,
            processes=options.processes,
        )
        rows.append(
            {
                "model": model,
                "target": target,
                "threads": threads,
                "measured": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": options.seconds,
                **summary(times, published.macs_millions),
                "relative_errors": errors,
                "processes": [
                    {
                        name: {"wall_ms": one.wall_ms, "processor_ms": one.processor_ms}
                        for name, one in process.items()
                    }
                    for process in times
                ],
            }
        )
    return rows


def a_photo(model: str) -> NDArray[np.float32]:
    """The first of the kit's photos as the network's input, (1, 3, H, W)."""
    preprocessing = model_card(model).preprocessing
    pixels = next(iter(sample_photos(preprocessing).values()))
    return np.ascontiguousarray(preprocessing.normalise(pixels[np.newaxis]))


def agreement(found: Mapping[str, NDArray[np.float32]]) -> dict[str, float]:
    """The largest difference of each file's output to ours, over our largest magnitude.

    Raises ParityError where it is over MAX_ERROR, or no number.
    """
    ours = found["ours"]
    errors = {
        name: float(abs(output - ours).max() / abs(ours).max())
        for name, output in found.items()
        if name != "ours"
    }
    if not all(error <= MAX_ERROR for error in errors.values()):
        raise ParityError(f"relative errors between outputs, over {MAX_ERROR:.0e}: {errors}")
    return errors


def summary(processes: Sequence[Mapping[str, Times]], macs_millions: float) -> dict[str, Any]:
    """Medians over processes, ratios to ours, and the share of the matrix product's rate."""
    found = medians_and_ratios(processes)
    macs = 1e6 * macs_millions
    found["gflops"] = statistics.median(gflops(macs, one["ours"].wall_ms) for one in processes)
    found["share_of_peak"] = statistics.median(
        macs / GEMM_SIDE**3 * within_rounds(one["gemm"], one["ours"]) for one in processes
    )
    return found


def medians_and_ratios(processes: Sequence[Mapping[str, Times]]) -> dict[str, Any]:
    """Of each file the median over processes, and of each other network file the ratio to ours."""
    by_name = {name: [process[name] for process in processes] for name in processes[0]}
    found: dict[str, Any] = {
        f"{name}_ms": statistics.median(one.wall_ms for one in by_name[name]) for name in by_name
    }
    for name, times in by_name.items():
        if name not in ("ours", "gemm"):
            found[f"{name}_ratio"] = asdict(compare(times, by_name["ours"]))
    return found


def gflops(macs: float, ms: float) -> float:
    """GFLOP/s, with two operations for each multiply-accumulate."""
    return 2 * macs / ms / 1e6


def cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's figures for the table."""
    return {
        "model": row["model"],
        "target": row["target"],
        "threads": row["threads"],
        "ours_ms": row["ours_ms"],
        "stock_ms": row["stock_ms"],
        **_ratio_cells("stock", row),
        **_ratio_cells("unfused", row),
        "of_peak": f"{row['share_of_peak']:.0%}",
        "error": f"{max(row['relative_errors'].values()):.0e}",
    }


def _ratio_cells(name: str, row: Mapping[str, Any]) -> dict[str, str]:
    """The ratio with its interval, and by processor time, which means little beyond one thread."""
    ratio = row.get(f"{name}_ratio")
    if ratio is None:
        return {f"{name}/ours": "-", f"{name}_cpu": "-"}
    return {
        f"{name}/ours": f"{ratio['median']:.2f} {ratio['low']:.2f}-{ratio['high']:.2f}",
        f"{name}_cpu": f"{ratio['processor']:.2f}" if row["threads"] == 1 else "-",
    }


Key = tuple[str, str, int]


def key(row: Mapping[str, Any]) -> Key:
    """What there is one row of: model, target, threads."""
    return row["model"], row["target"], row["threads"]


def in_order(rows: Mapping[Key, Any]) -> list[Any]:
    """Rows in the order of the models' table, then of targets and threads."""
    models = list_models()
    return [
        rows[one]
        for one in sorted(rows, key=lambda k: (models.index(k[0]), TARGETS.index(k[1]), k[2]))
    ]


if __name__ == "__main__":
    main()
