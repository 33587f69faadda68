"""ExecuTorch's Python runtime on one file, as a program: prints the median of its runs (ms).

python -m benchmarks.harness_parts.executorch_python FILE PHOTO CORE WARMUP ITERATIONS
"""

from __future__ import annotations

import os
import statistics
import sys
import time

import numpy as np
import torch
from executorch.extension.pybindings import _C

from converters import vendor_output


def main(file: str, photo: str, core: int, warmup: int, iterations: int) -> None:
    os.sched_setaffinity(0, [core])  # before the runtime starts its threads
    torch.set_num_threads(1)
    with vendor_output.silenced():
        _C._unsafe_reset_threadpool(1)
        loaded = _C._load_program(
            file,
            enable_etdump=False,
            debug_buffer_size=0,
            program_verification=_C.Verification.InternalConsistency,
        )
        method = loaded.load_method("forward")
    shape = method.method_meta().input_tensor_meta(0).sizes()
    given = [torch.from_numpy(np.fromfile(photo, np.float32).reshape(shape))]
    times = []
    for _ in range(warmup + iterations):
        begin = time.perf_counter()
        method.call(given, clone_outputs=False)
        times.append(1e3 * (time.perf_counter() - begin))
    print(statistics.median(times[warmup:]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
