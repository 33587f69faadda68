"""What a measurement needs on a device: runner, file and golden inputs, each pushed once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from converters.artifact import Artifact, GoldenCase

from .devices.base import Device
from .records import DeviceInfo
from .runners.base import Runner

_DIGITS = 16  # of a digest in a name: a file's own name may be any text


@dataclass(frozen=True)
class PlacedCase:
    """A golden case, and its inputs on the device in the order of the file's."""

    case: GoldenCase
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Placed:
    """Paths below the device's folder."""

    model: str
    cases: tuple[PlacedCase, ...]


def place(
    device: Device,
    info: DeviceInfo,
    artifact: Artifact,
    runner: Runner,
    phase: Callable[[str], None],
) -> Placed:
    """Pushes what is not there yet.

    A file that takes images of several sizes is measured at the one that its manifest names:
    cases of others are left out. Raises UsageError where there is no runner for the device.
    """
    program = runner.files(info.abis)
    if program is not None:
        phase("pushing the runner")
        device.push(program, program.name)
    digest = artifact.manifest.file.sha256[:_DIGITS]
    model = f"models/{digest}{artifact.path.suffix}"
    phase("pushing the file")
    device.push(artifact.path, model)
    inputs = artifact.manifest.inputs
    cases = [
        case
        for case in artifact.golden()
        if all(case.inputs[one.name].shape == one.shape for one in inputs)
    ]
    # The same file may have been converted again with other golden inputs.
    folder = f"golden/{artifact.manifest.golden.sha256[:_DIGITS]}"
    placed = []
    phase("pushing the golden inputs")
    with tempfile.TemporaryDirectory(prefix="mvkit-") as here:
        for number, case in enumerate(cases):
            names = []
            for place_in_file, one in enumerate(inputs):
                array = case.inputs[one.name]
                names.append(f"{number}-{place_in_file}.bin")
                array.astype(array.dtype.newbyteorder("<")).tofile(Path(here, names[-1]))
            placed.append(PlacedCase(case, tuple(f"{folder}/{name}" for name in names)))
        device.push(Path(here), folder)
    return Placed(model, tuple(placed))
