"""Runners for 64-bit Arm, started with QEMU's user mode: real Arm inference, marked as emulated.

It needs less of the kernel than the phone of test_tiers.py, whose shell is Arm's, too. Skipped,
with the reason, where the emulator, the cross compiler or the vendors' packages for Arm are not to
be had.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from android_harness.bundles import Bundle
from android_harness.runners.base import Job
from converters import Artifact
from converters.errors import UsageError
from tests.android_harness.runners.native import QUICK, raw_inputs, raw_outputs, report
from tests.fake_phone.arm64 import CPUINFO


@pytest.fixture(scope="module")
def emulator() -> str:
    found = shutil.which("qemu-aarch64-static")
    if found is None:
        pytest.skip("qemu-user-static is not installed")
    return found


@pytest.mark.parametrize("target", ["tflite", "executorch"])
def test_outputs_on_arm_are_the_golden_ones(
    bundled: Callable[..., Bundle],
    converted: Callable[..., Artifact],
    emulator: str,
    tmp_path: Path,
    target: str,
) -> None:
    try:
        bundle = bundled(target, "linux-arm64")
    except UsageError as error:
        pytest.skip(str(error))
    artifact = converted("classifier", target)
    case = artifact.golden()[0]
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(CPUINFO)
    # This host's shell cannot start Arm programs: QEMU starts what `run` would.
    loader = f"{bundle.path.name}/ld-linux-aarch64.so.1"
    start = [emulator, loader, "--library-path", bundle.path.name]
    job = Job(
        str(artifact.path), raw_inputs(artifact, case, tmp_path), str(tmp_path / "out"), QUICK
    )
    found = report(bundle, job, start=start, env={**os.environ, "QEMU_LD_PREFIX": str(tmp_path)})
    assert found.emulated
    assert len(found.timings.samples or ()) == QUICK.iterations
    for name, array in raw_outputs(artifact, case, tmp_path / "out").items():
        assert abs(array - case.outputs[name]).max() <= 1e-5 * abs(case.outputs[name]).max()


def test_a_bundle_for_arm_brings_its_own_system(bundled: Callable[..., Bundle]) -> None:
    try:
        bundle = bundled("tflite", "linux-arm64")
    except UsageError as error:
        pytest.skip(str(error))
    assert {"ld-linux-aarch64.so.1", "libc.so.6", "libstdc++.so.6", "libLiteRt.so"} <= {
        file.name for file in bundle.path.iterdir()
    }
    run = (bundle.path / "run").read_text()
    assert '"$here/ld-linux-aarch64.so.1" --library-path "$here" "$here/mvkit-litert"' in run
