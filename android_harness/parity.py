"""Whether a file computes on the device what its source computes: the outputs of its golden cases.

Latency of a wrong answer means nothing, so this comes before any timing.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.artifact import Artifact, GoldenCase
from converters.errors import DeviceError, DeviceLost, UsageError, one_line
from converters.parity import judge

from .devices.base import Device
from .placing import Placed, PlacedCase
from .processes import FIRST_RUN_LIMIT_S, run_job
from .records import Options, ParityOnDevice
from .reservation import SCRATCH
from .runners.base import Job, Report, Runner

# GPUs and NPUs compute in half precision whatever the file holds, unless they are told not to.
_HALF_PRECISION = ("gpu", "npu")


@dataclass(frozen=True)
class DeviceCheck:
    """`emulated` is what the runner noticed; `single` is how long one run took (ms)."""

    parity: ParityOnDevice
    emulated: bool = False
    single: float | None = None


class _NoOutputs(Exception):
    """The runner cannot give outputs; the message says why."""


def check_on_device(
    device: Device,
    artifact: Artifact,
    runner: Runner,
    placed: Placed,
    options: Options,
    phase: Callable[[str], None],
) -> DeviceCheck:
    """Runs every golden case in a process of its own and compares what it wrote.

    The verdict is unverified where a runner gives no outputs. Raises DeviceError when a process
    fails: then there is nothing to measure either.
    """
    once = replace(options, warmup=0, iterations=1, min_seconds=0.0)
    results, emulated, single = [], False, None
    device.run(["mkdir", "-p", SCRATCH], timeout=FIRST_RUN_LIMIT_S)
    for number, one in enumerate(placed.cases):
        phase(f"checking outputs, {number + 1} of {len(placed.cases)}")
        job = Job(placed.model, one.inputs, f"{SCRATCH}/out{number}", once)
        try:
            report = _run(device, runner, job)
            emulated |= report.emulated
            single = max(filter(None, (single, report.timings.first)), default=None)
            results.append(_outputs(device, artifact, one, job, report))
        except _NoOutputs as none:
            reason = one_line(none)
            return DeviceCheck(ParityOnDevice("unverified", reason=reason), emulated, single)
    half = options.backend in _HALF_PRECISION
    record = judge(
        [one.case for one in placed.cases],
        results,
        precision="fp16" if half else artifact.manifest.precision,
        runtime=runner.name,
    )
    parity = ParityOnDevice(record.verdict, record.relative_error, record.reason)
    return DeviceCheck(parity, emulated, single)


def _run(device: Device, runner: Runner, job: Job) -> Report:
    try:
        return run_job(device, runner, job, limit=FIRST_RUN_LIMIT_S)
    except UsageError as error:  # the runner has no way to give them
        raise _NoOutputs(error.message) from None


def _outputs(
    device: Device, artifact: Artifact, one: PlacedCase, job: Job, report: Report
) -> Mapping[str, NDArray[Any]]:
    """The outputs by name, as the runner wrote them."""
    found = {}
    specs = artifact.manifest.outputs
    if report.outputs and len(report.outputs) != len(specs):
        raise DeviceError(
            f"{one_line(device.serial)}: the file gave {len(report.outputs)} outputs, its manifest "
            f"has {len(specs)}"
        )
    with tempfile.TemporaryDirectory(prefix="mvkit-") as folder:
        for number, spec in enumerate(specs):
            local = Path(folder, f"{number}.bin")
            try:
                device.pull(f"{job.outputs}-{number}.bin", local)
            except DeviceLost:
                raise
            except DeviceError:
                if report.outputs:  # it says that it wrote them
                    raise
                raise _NoOutputs("the runner wrote no outputs") from None
            data = local.read_bytes()
            if report.outputs and report.outputs[number].crc32 != zlib.crc32(data):
                raise DeviceError(f"{one_line(device.serial)}: an output was damaged on its way")
            found[spec.name] = _array(data, spec.name, one.case)
    return found


def _array(data: bytes, name: str, case: GoldenCase) -> NDArray[Any]:
    """As the golden output is; of another size it stays flat, and fails by its shape."""
    golden = case.outputs[name]
    if len(data) % golden.itemsize:
        return np.frombuffer(data, np.uint8)
    flat = np.frombuffer(data, golden.dtype.newbyteorder("<")).astype(golden.dtype)
    return flat.reshape(golden.shape) if flat.size == golden.size else flat
