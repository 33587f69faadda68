"""Conversions, one after another or several at once; what fails does not stop the others.

With more than one job each worker is a process of its own that stays warm from one network to the
next and is replaced if it dies.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from converters import convert, provenance
from converters.artifact import Artifact, find_unchanged
from converters.convert import PRECISION
from converters.errors import ConversionError, MvkitError
from converters.targets import target_named

from .source import SourceRequest, build_source, check_request, identity, user_identity

Report = Callable[[str, str], None]  # name of the network, phase


@dataclass(frozen=True)
class Job:
    """One network to one target."""

    request: SourceRequest
    target: str
    output_dir: Path
    layout: Literal["nchw", "nhwc"] = "nchw"
    embed_preprocessing: bool = False
    verify: bool = True
    time_on_host: bool = True
    force: bool = False
    verbose: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a job: an artifact or an error."""

    job: Job
    artifact: Artifact | None = None
    unchanged: bool = False
    error: MvkitError | None = None


def check_job(job: Job) -> None:
    """Raises for what is wrong with a job before anything heavy is imported."""
    backend = target_named(job.target)
    check_request(job.request)
    backend.require()


def run_job(job: Job, report: Callable[[str], None] = lambda phase: None) -> Outcome:
    """Converts and checks, or returns what the same job made before. Errors are raised."""
    check_job(job)
    request = job.request
    digest = provenance.request_digest(
        job.target,
        source=user_identity(request) if request.is_factory else identity(request),
        layout=job.layout,
        embed_preprocessing=job.embed_preprocessing,
    )
    backend = target_named(job.target)
    file = job.output_dir / f"{request.name}-{PRECISION}{backend.SUFFIX}"
    if not job.force:
        existing = find_unchanged(file, digest, verified=job.verify)
        if existing is not None:
            return Outcome(job, existing, unchanged=True)
    report("building the network")
    source = build_source(request)
    artifact = convert(
        source.module,
        source.examples,
        job.target,
        name=request.name,
        output_dir=job.output_dir,
        layout=job.layout,
        preprocessing=source.preprocessing,
        embed_preprocessing=job.embed_preprocessing,
        photos=source.photos,
        input_names=source.input_names,
        output_names=source.output_names,
        labels=source.labels,
        origin=source.origin,
        request=digest,
        verify=job.verify,
        time_on_host=job.time_on_host,
        force=job.force,
        verbose=job.verbose,
        seed=request.seed,
        progress=report,
    )
    return Outcome(job, artifact)


def run_jobs(jobs: Sequence[Job], workers: int, report: Report) -> Iterator[Outcome]:
    """Runs jobs and yields their outcomes as they end, errors included."""
    if workers == 1 or len(jobs) == 1:
        for job in jobs:
            yield _guarded(job, functools.partial(report, job.request.name))
        return
    with _phases(report) as phases:
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        for _ in range(min(workers, len(jobs))):
            arguments = (waiting, done, phases, max(1, (os.cpu_count() or 1) // workers))
            threading.Thread(target=_feed_worker, args=arguments, daemon=True).start()
        for _ in jobs:
            yield done.get()


def _guarded(job: Job, report: Callable[[str], None]) -> Outcome:
    try:
        return run_job(job, report)
    except MvkitError as error:
        return Outcome(job, error=error)


def _feed_worker(waiting: Any, done: Any, phases: Any, threads: int) -> None:
    """Keeps one process busy; a process that dies takes only its job with it."""
    pool = None
    with suppress(queue.Empty):
        while True:
            job = waiting.get_nowait()
            if pool is None:
                pool = ProcessPoolExecutor(
                    1, multiprocessing.get_context("spawn"), _start_worker, (phases, threads)
                )
            try:
                future: Future[Outcome] = pool.submit(_work, job)
                done.put(future.result())
            except BrokenProcessPool:
                pool = None
                error = ConversionError(
                    f"{job.request.name}: the converting process died", "is there enough memory?"
                )
                done.put(Outcome(job, error=error))
            except Exception as fault:  # a fault of ours must not leave the command waiting
                done.put(Outcome(job, error=ConversionError(f"{job.request.name}: {fault!r}")))
    if pool is not None:
        pool.shutdown()


_phase_queue: Any = None  # in a worker: where its jobs report


def _start_worker(phases: Any, threads: int) -> None:
    global _phase_queue
    _phase_queue = phases
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is imported


def _work(job: Job) -> Outcome:
    name = job.request.name
    return _guarded(job, lambda phase: _phase_queue.put((name, phase)))


@contextmanager
def _phases(report: Report) -> Iterator[Any]:
    """A queue into which workers put (name, phase); a thread hands them to `report`."""
    phases = multiprocessing.get_context("spawn").SimpleQueue()

    def forward() -> None:
        while (message := phases.get()) is not None:
            report(*message)

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        yield phases
    finally:
        phases.put(None)
        thread.join(timeout=5)
