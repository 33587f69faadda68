"""The tests for a real phone, run on an emulated one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from converters import Artifact
from tests.fake_phone.fixtures import MakePhone
from tests.fake_phone.state import RUNS_HERE

ROOT = Path(__file__).parents[2]

BENCHMARK_MODEL = """#!/bin/sh
echo 'INFO: count=10 first=2000 curr=1000 min=990 max=1010 avg=1000 std=5 p5=991 median=1001 p95=1009'
echo 'INFO: Inference timings in us: Init: 5000, First inference: 2000, Warmup (avg): 1000, Inference (avg): 1000'
"""  # noqa: E501


def run_device_tests(folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "pytest", "tests/device", "-p", "no:cacheprovider", "-p", "no:xdist",
        "--confcutdir=tests/device",  # the tests' own conftest.py needs PyTorch
        f"--basetemp={folder / 'device-tests'}", *map(str, options),
    ]  # fmt: skip
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=120)


def test_they_pass_and_what_is_missing_is_skipped_with_the_reason(
    fake_phone: MakePhone, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = fake_phone(properties=RUNS_HERE)
    for core in range(4):  # the big one is a core that this host has
        phone.state.set_top_clock(core, 1_803_000 if core else 2_802_000)
    program = "/data/local/tmp/benchmark_model"
    phone.files.write(program, BENCHMARK_MODEL, mode=0o755)
    monkeypatch.setenv("MVKIT_BENCHMARK_MODEL", program)
    monkeypatch.delenv("MVKIT_EXECUTOR_RUNNER", raising=False)
    done = run_device_tests(tmp_path, "--serial", phone.serial, "--file", artifact.path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed, 2 skipped" in done.stdout, done.stdout
    assert "MVKIT_EXECUTOR_RUNNER does not say where executor_runner is" in done.stdout
    assert "--file is no executorch file" in done.stdout
    assert [one.name for one in phone.files.path("/data/local/tmp").iterdir()] == [
        "benchmark_model"
    ]


def test_without_a_serial_there_are_none(tmp_path: Path) -> None:
    done = run_device_tests(tmp_path, "--collect-only")
    assert done.returncode == 5 and "12 deselected" in done.stdout, done.stdout
