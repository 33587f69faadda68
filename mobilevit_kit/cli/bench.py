"""`mvkit bench`: converted files measured on phones, or on this host."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .measurements import store_option
from .options import Output, output_options

if TYPE_CHECKING:
    from android_harness.compare import Comparison
    from android_harness.measure import Request
    from android_harness.records import Measurement
    from android_harness.shelf import Group, Outcome
    from converters import Artifact


class Threads(click.ParamType[tuple[int, ...]]):
    """Numbers of threads, separated by commas."""

    name = "N,..."

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[int, ...]:
        parts = str(value).split(",")
        if not all(part.isascii() and part.isdecimal() and 1 <= int(part) <= 64 for part in parts):
            self.fail(f"'{value}' is no number of threads such as 1 or 1,4", parameter, context)
        return tuple(dict.fromkeys(int(part) for part in parts))


class Label(click.ParamType[tuple[str, str]]):
    """KEY=VALUE."""

    name = "KEY=VALUE"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, str]:
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"'{value}' is no label such as branch=main", parameter, context)
        return key, text


@click.command(short_help="Measures converted files on phones or on this host.")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--device",
    "names",
    metavar="SERIAL|host|all",
    multiple=True,
    help="Which device; may be given several times.  [default: $ANDROID_SERIAL, else the only "
    "phone]",
)
@click.option("--threads", type=Threads(), default="1", show_default=True, help="Each measured.")
@click.option("--cores", metavar="big|little|MASK", help="Where it runs; a mask as in f0.")
@click.option("--repeats", type=click.IntRange(1, 1000),
              help="Fresh processes, on the device.  [default: 5; 10 in turns]")  # fmt: skip
@click.option("--warmup", type=click.IntRange(0, 100_000), default=5, show_default=True,
              help="Untimed runs of each repeat, after the first.")  # fmt: skip
@click.option("--iterations", type=click.IntRange(1, 100_000), default=50, show_default=True,
              help="Timed runs of each repeat, at least.")  # fmt: skip
@click.option("--min-seconds", type=click.FloatRange(0, 600),
              help="Of timed runs, at least.  [default: 1; 3 in turns]")  # fmt: skip
@click.option("--cooldown", type=click.FloatRange(0, 3600), default=0.0, show_default=True,
              metavar="SECONDS", help="Rest between repeats.")  # fmt: skip
@click.option("--max-temperature", type=click.FloatRange(0, 100), metavar="DEGREES",
              help="°C of the skin, or the battery, at which a repeat may begin. Throttling is "
              "always waited for.")  # fmt: skip
@click.option("--backend", type=click.Choice(["xnnpack", "gpu", "npu"]),
              help="tflite: what runs the graph.  [default: xnnpack]")  # fmt: skip
@click.option(
    "--runner",
    "program",
    default="mvkit",
    show_default=True,
    metavar="mvkit|benchmark_model=PATH|executor_runner=PATH",
    help="What measures; a path here, or on the device.",
)
@click.option("--interleave", is_flag=True,
              help="Let the files take turns in each process, and compare them with the first: "
              "what slows the device down slows all of them.")  # fmt: skip
@click.option("--memory", is_flag=True, help="Measure peak memory, in a process of its own.")
@click.option("--profile", is_flag=True, help="Time operators, in a process of their own.")
@click.option("--label", "labels", type=Label(), multiple=True, help="For runs and compare.")
@store_option
@output_options
def bench(
    files: tuple[Path, ...],
    names: tuple[str, ...],
    threads: tuple[int, ...],
    cores: str | None,
    backend: str | None,
    program: str,
    interleave: bool,
    repeats: int | None,
    min_seconds: float | None,
    memory: bool,
    profile: bool,
    labels: tuple[tuple[str, str], ...],
    location: str | None,
    output: Output,
    **how: Any,
) -> int:
    """Measures the latency of converted files on phones, emulators or this host.

    First the outputs on the device are compared with the golden tensors, then each repeat is
    timed in a fresh process once the device is cool, and is stored when it ends. The same command
    goes on with what was interrupted. Exits with 1 for an invalid run.
    """
    from android_harness.cores import parse_cores
    from android_harness.devices import open_devices
    from android_harness.measure import Request
    from android_harness.records import Options
    from android_harness.runners.choice import choose_runner
    from android_harness.shelf import measure_all
    from android_harness.store import open_store
    from android_harness.turns import MIN_SECONDS_IN_TURNS, REPEATS_IN_TURNS, check_turns
    from converters.artifact import load_artifact

    chosen = None if cores is None else parse_cores(cores)
    if repeats is None:
        repeats = REPEATS_IN_TURNS if interleave else Options.repeats
    if min_seconds is None:
        min_seconds = MIN_SECONDS_IN_TURNS if interleave else Options.min_seconds
    artifacts = [load_artifact(file) for file in files]
    groups: list[list[Request]] = []
    for number in threads:
        requests = []
        for artifact in artifacts:
            runner = choose_runner(program, artifact.manifest)
            options = Options(
                runner=runner.name,
                backend=_backend(artifact, backend),
                threads=number,
                repeats=repeats,
                min_seconds=min_seconds,
                **how,
            )
            requests.append(
                Request(artifact, runner, options, chosen, dict(labels), profile, memory)
            )
        if interleave:
            check_turns(requests)
        groups += [requests] if interleave else [[one] for one in requests]
    devices = open_devices(names)
    with open_store(location, create=True) as store, _ended_by_sigterm():
        store.check_writable()
        total = len(devices) * sum(map(len, groups))
        with _listening(total, output) as listener:
            outcomes = measure_all(devices, groups, store, listener)
    _print(outcomes, output)
    return max(map(_exit_code, outcomes))


def _backend(artifact: Artifact, wanted: str | None) -> str:
    """A .pte has its backend in it."""
    from converters.errors import UsageError

    manifest = artifact.manifest
    own = manifest.options.get("backend") if manifest.target == "executorch" else None
    if own is None:
        return wanted or "xnnpack"
    if wanted not in (None, own):
        raise UsageError(
            f"{artifact.path}: was converted for the backend {own}, not {wanted}",
            f"convert it with --backend {wanted}, or leave the option out",
        )
    return str(own)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """A CI job that is cancelled puts a phone's settings back, as one after Ctrl-C does."""

    def end(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _listening(total: int, output: Output) -> Iterator[_Listener]:
    from .console import progress

    with progress(total, "bench", quiet=output.quiet) as (phase, done):
        yield _Listener(phase, done, output)


class _Listener:
    """Implements `android_harness.shelf.Listener`."""

    def __init__(
        self, phase: Callable[[str, str], None], done: Callable[[str], None], output: Output
    ) -> None:
        self._phase, self._done, self._output = phase, done, output

    def say(self, line: str) -> None:
        if not self._output.quiet:
            click.echo(line, err=True)

    def phase(self, serial: str, group: Group, what: str) -> None:
        self._phase(_line_name(serial, group), what)

    def done(self, outcome: Outcome) -> None:
        self._done(_line_name(outcome.serial, outcome.group))


def _line_name(serial: str, group: Group) -> str:
    from .measurements import shown

    files = " and ".join(shown(one.artifact.path.name) for one in group)
    return f"{shown(serial)}, {files}, {group[0].options.threads} thr."


def _exit_code(outcome: Outcome) -> int:
    from converters.errors import MvkitError

    if outcome.measurement is not None:
        return 1 if outcome.measurement.validity == "invalid" else 0
    return outcome.error.exit_code if isinstance(outcome.error, MvkitError) else 1


def _comparisons(outcomes: Sequence[Outcome]) -> dict[int, Comparison]:
    """Of files that took turns, each beside the first of them; by the places of outcomes."""
    from android_harness.compare import compare

    first: dict[tuple[str, int], Measurement] = {}
    found = {}
    for place, one in enumerate(outcomes):
        run = one.measurement
        if run is None or not run.options.beside:
            continue
        other = first.setdefault((one.serial, run.options.threads), run)
        if other is not run:
            found[place] = compare(other, run)
    return found


def _print(outcomes: Sequence[Outcome], output: Output) -> None:
    from android_harness.documents import to_document
    from android_harness.stats import statistics
    from android_harness.store import summary_of
    from converters.errors import MvkitError

    from .compare import comparison_document, print_comparison
    from .console import print_json, print_line
    from .measurements import SHORT_ID, print_runs, summary_document

    compared = _comparisons(outcomes)
    for one in outcomes:
        if one.error is None:
            continue
        if not isinstance(one.error, MvkitError) or (output.debug and len(outcomes) == 1):
            raise one.error
        click.echo(f"mvkit: {one.error}", err=True)
    if output.json:
        print_json(
            [
                {
                    "device": one.serial,
                    "file": str(one.request.artifact.path),
                    "run": one.measurement
                    and {
                        **summary_document(summary_of(one.measurement)),
                        "statistics": to_document(statistics(one.measurement)),
                        "parity": to_document(one.measurement.parity),
                        "peak_memory": one.measurement.peak_memory,
                    },
                    "compared": comparison_document(compared[place]) if place in compared else None,
                    "error": None if one.error is None else str(one.error),
                }
                for place, one in enumerate(outcomes)
            ]
        )
    if output.json or output.quiet:
        return
    runs = [one.measurement for one in outcomes if one.measurement is not None]
    if not runs:
        return
    print_runs([summary_of(run) for run in runs])
    for run in runs:
        for reason in run.reasons:
            print_line(f"{run.identity[:SHORT_ID]}  {run.validity}: {reason}")
        if run.parity is not None and run.parity.verdict == "pass":
            print_line(f"{run.identity[:SHORT_ID]}  outputs on the device: {run.parity.reason}")
        if run.peak_memory is not None:
            print_line(f"{run.identity[:SHORT_ID]}  peak memory {run.peak_memory:.1f} MiB")
    for comparison in compared.values():
        print_line("")
        print_comparison(comparison)
