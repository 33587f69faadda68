"""Which pages of memory a process gets is luck that lasts: the kernel hands out those that the
process before gave back. Two programs that are measured again and again, always started in one
order, keep their good or bad pages, and differ by several percent in all pairs of a series.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

MOST = 0.25  # of the memory that is free


@contextmanager
def pages_from_elsewhere(rng: np.random.Generator) -> Iterator[None]:
    """Holds a random amount of memory: who starts meanwhile gets other pages than before."""
    free = os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE
    size = mmap.PAGESIZE * int(rng.uniform(1, MOST * free / mmap.PAGESIZE))
    with mmap.mmap(-1, size) as held:
        held.madvise(mmap.MADV_NOHUGEPAGE)  # huge pages come from elsewhere than small ones
        for page in range(0, size, mmap.PAGESIZE):
            held[page] = 1  # memory that is not written to is not taken
        yield
