"""Opens and runs packages in a process of its own, with a limit on its memory."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

MEMORY = 2**30  # bytes that judging may add to what the libraries take
SECONDS = 60.0  # for one package, on a busy machine; most take milliseconds
START_SECONDS = 180.0


@dataclass(frozen=True)
class Judgement:
    """What the evaluator says of a package: the name of its error and its line, or outputs."""

    error: str | None
    line: str
    outputs: dict[str, np.ndarray]


class Judge:
    """A process that runs one package after another."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def __call__(self, path: Path, inputs: dict[str, np.ndarray]) -> Judgement:
        """Raises BrokenProcessPool if the package crashes it, TimeoutError if it hangs."""
        return self._pool.submit(_judge, path, inputs).result(SECONDS)


@contextmanager
def judging() -> Iterator[Judge]:
    """A judge, which is gone afterwards."""
    pool = ProcessPoolExecutor(1, get_context("spawn"), _limit_memory)
    try:
        pool.submit(int).result(START_SECONDS)  # imports torch first
        yield Judge(pool)
    finally:
        for process in list(pool._processes.values()):
            process.kill()  # it may hang
        pool.shutdown(wait=False, cancel_futures=True)


def _limit_memory() -> None:
    import torch

    import converters.runtimes.mil.evaluator  # noqa: F401  (with all that it imports)

    torch.set_num_threads(1)
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY,) * 2)


def _judge(path: Path, inputs: dict[str, np.ndarray]) -> Judgement:
    from converters.errors import MvkitError
    from converters.runtimes.mil import Evaluator

    try:
        return Judgement(None, "", Evaluator(path).run(inputs))
    except MvkitError as error:
        return Judgement(type(error).__name__, str(error), {})
