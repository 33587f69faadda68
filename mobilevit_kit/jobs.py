"""Conversions, one after another or several at once; what fails does not stop the others.

With more than one job each worker is a process of its own that stays warm from one network to the
next and is replaced if it dies.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from converters import convert, provenance
from converters.artifact import Artifact, find_unchanged
from converters.conversion import Preparation
from converters.errors import ConversionError, MvkitError, UsageError
from converters.recipe import Recipe
from converters.targets import complete, target_named

from .source import Source, SourceRequest, build_source, check_request, identity, user_identity

if TYPE_CHECKING:
    from converters.deploy import Interface

Report = Callable[[str, str], None]  # name of the file, phase


@dataclass(frozen=True)
class Job:
    """One network to one file."""

    request: SourceRequest
    recipe: Recipe
    output_dir: Path
    layout: Literal["nchw", "nhwc"] = "nchw"
    embed_preprocessing: bool = False
    verify: bool = True
    time_on_host: bool = True
    force: bool = False
    verbose: bool = False

    @property
    def name(self) -> str:
        """What the converted file will be called."""
        recipe = complete(self.recipe)
        return recipe.stem(self.request.name) + target_named(recipe.target).SUFFIX


@dataclass(frozen=True)
class Outcome:
    """What became of a job: an artifact or an error."""

    job: Job
    artifact: Artifact | None = None
    unchanged: bool = False
    error: MvkitError | None = None


def check_job(job: Job) -> None:
    """Raises for what is wrong with a job before anything heavy is imported."""
    complete(job.recipe)
    check_request(job.request)
    target_named(job.recipe.target).require()


def check_jobs(jobs: Sequence[Job]) -> None:
    """The same for all jobs of a command, which must not write one file from two networks."""
    for job in jobs:
        check_job(job)
    for name, count in Counter(job.name for job in jobs).items():
        if count > 1:
            models = " and ".join(job.request.model for job in jobs if job.name == name)
            raise UsageError(f"the files of {models} would have the same name, {name}")


class Workbench:
    """The network of the last job, kept so that its next target shares what has been done."""

    def __init__(self) -> None:
        self._request: SourceRequest | None = None
        self._source: Source | None = None
        self.preparations: dict[Interface, Preparation] = {}

    def source(self, request: SourceRequest) -> Source:
        if self._source is None or self._request != request:
            self._source = None  # two networks need not be in memory at once
            self.preparations = {}
            self._source = build_source(request)
            self._request = request
        return self._source


def run_job(
    job: Job,
    report: Callable[[str], None] = lambda phase: None,
    bench: Workbench | None = None,
) -> Outcome:
    """Converts and checks, or returns what the same job made before. Errors are raised."""
    check_job(job)
    recipe = complete(job.recipe)
    request = job.request
    sizes = recipe.sizes
    what = user_identity(request) if request.is_factory else identity(request)
    if not job.force:
        digest = provenance.request_digest(recipe, what, job.layout, job.embed_preprocessing)
        existing = find_unchanged(job.output_dir / job.name, digest, verified=job.verify)
        if existing is not None:
            return Outcome(job, existing, unchanged=True)
    report("building the network")
    bench = bench or Workbench()
    source = bench.source(request)
    artifact = convert(
        source.module,
        source.examples,
        recipe,
        name=request.name,
        output_dir=job.output_dir,
        layout=job.layout,
        preprocessing=source.preprocessing,
        embed_preprocessing=job.embed_preprocessing,
        photos=source.photos | source.photos_at(sizes),
        input_names=source.input_names,
        output_names=source.output_names,
        labels=source.labels,
        origin=source.origin,
        identity=what,
        preparations=bench.preparations,
        verify=job.verify,
        time_on_host=job.time_on_host,
        force=job.force,
        verbose=job.verbose,
        seed=request.seed,
        progress=report,
    )
    return Outcome(job, artifact)


def run_jobs(jobs: Sequence[Job], workers: int, report: Report) -> Iterator[Outcome]:
    """Runs jobs and yields their outcomes as they end, errors included.

    When the caller stops early, as on Ctrl-C, so do the workers, and clear away what they had
    begun to write.
    """
    if workers == 1 or len(jobs) == 1:
        bench = Workbench()
        for job in jobs:
            with _interruptible(signal.SIGINT):
                outcome = _guarded(job, functools.partial(report, job.name), bench)
            yield outcome
        return
    waiting = list(reversed(jobs))
    threads = max(1, (os.cpu_count() or 1) // min(workers, len(jobs)))
    running: dict[Connection, tuple[SpawnProcess, Job]] = {}
    started: list[SpawnProcess] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                process, pipe = _start_worker(threads)
                started.append(process)
                running[pipe] = process, waiting.pop()
                _send(pipe, running[pipe][1])
            for pipe in cast(list[Connection], wait(list(running))):
                process, job = running[pipe]
                try:
                    message: str | Outcome = pipe.recv()
                except (EOFError, ConnectionResetError):
                    del running[pipe]
                    pipe.close()
                    died = ConversionError("the converting process died", "is there enough memory?")
                    yield Outcome(job, error=died)
                    continue
                if isinstance(message, str):
                    report(job.name, message)
                    continue
                if waiting:
                    running[pipe] = process, waiting.pop()
                    _send(pipe, running[pipe][1])
                else:
                    del running[pipe]
                    pipe.close()  # which ends the worker
                yield message
    finally:
        for pipe, (process, _) in running.items():
            process.terminate()
            pipe.close()
        for process in started:
            process.join()


def _guarded(job: Job, report: Callable[[str], None], bench: Workbench) -> Outcome:
    def phase(what: str) -> None:
        _interrupts.may_raise = what != "converting"
        if _interrupts.seen:
            raise KeyboardInterrupt
        report(what)

    try:
        return run_job(job, phase, bench)
    except MvkitError as error:
        return Outcome(job, error=error)
    except OSError as error:  # a full disk, above all, where the temporary files are
        where = f"{error.filename}: " if error.filename else ""
        return Outcome(job, error=UsageError(f"{where}{error.strerror or error}"))
    except Exception as fault:  # a fault of ours in one network must not stop the others
        if isinstance(fault, MemoryError) or "can't allocate memory" in str(fault):
            return Outcome(job, error=ConversionError("there is not enough memory for this"))
        line = " ".join(f"{type(fault).__name__}: {fault}".split())[:300]
        internal = ConversionError(f"internal error: {line}", "--debug shows where")
        internal.__cause__ = fault
        return Outcome(job, error=internal)


@dataclass
class _Interrupts:
    """Whether a signal has come that ends the jobs, and whether it may raise at once.

    What is raised inside a vendor's converter is swallowed there, or aborts the process with its
    files half-written: then it waits for the job's next phase, unless it comes again.
    """

    seen: bool = False
    may_raise: bool = True

    def stop(self, *_: Any) -> None:
        raises = self.may_raise or self.seen
        self.seen = True
        if raises:
            raise KeyboardInterrupt


_interrupts = _Interrupts()


@contextmanager
def _interruptible(number: signal.Signals) -> Iterator[None]:
    """Makes a signal end the block without leaving anything half-written."""
    global _interrupts
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted, and only it may say how
        return
    _interrupts = _Interrupts()
    before = signal.signal(number, _interrupts.stop)
    try:
        yield
        if _interrupts.seen:  # a converter that failed after all
            raise KeyboardInterrupt
    finally:
        signal.signal(number, before)
        _interrupts = _Interrupts()


_ENVIRONMENT = {
    # A `random.py` where the command runs must not stand in for the standard library's.
    "PYTHONSAFEPATH": "1",
    # Python's helper for semaphores: those of a worker that died are nothing to tell a user.
    "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker",
}


def _start_worker(threads: int) -> tuple[SpawnProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, threads), daemon=True)
    with _ctrl_c_held_back(), _inherited_by_workers():
        process.start()
    theirs.close()  # so that the end of the worker is the end of the pipe
    return process, ours


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Lets Ctrl-C count after the block: a process half-started would end with a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


@contextmanager
def _inherited_by_workers() -> Iterator[None]:
    """Ctrl-C in a terminal reaches every process: the workers leave it to the one that started
    them.
    """
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    resource_tracker.ensure_running()  # started with a worker, it would unmask Ctrl-C again
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _send(pipe: Connection, job: Job) -> None:
    with suppress(BrokenPipeError):  # a worker that has died is noticed when it is read from
        pipe.send(job)


def _work(pipe: Connection, threads: int) -> None:
    """A worker: jobs in, phases and outcomes out, until the other end is closed."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is imported
    os.dup2(2, 1)  # standard output is for the command's result
    ended = (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt)
    bench = Workbench()
    with suppress(*ended):
        while True:
            job: Job = pipe.recv()
            with _interruptible(signal.SIGTERM):
                outcome = _guarded(job, pipe.send, bench)
            if outcome.error is not None:  # a traceback does not go through a pipe
                outcome.error.add_note("".join(traceback.format_exception(outcome.error)))
            pipe.send(outcome)
