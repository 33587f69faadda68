"""The command line of the kit's own runners."""

from __future__ import annotations

import pytest

from android_harness.records import Options
from android_harness.runners.base import Job
from android_harness.runners.mvkit import MvkitRunner
from converters.errors import UsageError

JOB = Job("m.tflite", ("a.bin", "b.bin"), None, Options())


def test_every_option_is_given() -> None:
    options = Options(backend="gpu", threads=4, cores=0xF0, warmup=0, iterations=7, min_seconds=0.5)
    job = Job("m.tflite", ("a.bin", "b.bin"), "out", options, profile=True, memory=True)
    assert MvkitRunner("tflite").command(job) == [
        "sh", "mvkit-litert/run", "--backend", "gpu", "--threads", "4", "--cores", "f0",
        "--warmup", "0", "--iterations", "7", "--min-seconds", "0.5",
        "--model", "m.tflite", "--input", "a.bin", "--input", "b.bin", "--outputs", "out",
        "--profile", "--memory",
    ]  # fmt: skip


def test_each_file_that_takes_turns_has_its_inputs() -> None:
    jobs = [Job(f"{name}.tflite", (f"{name}.bin",), None, Options()) for name in "ab"]
    command = MvkitRunner("tflite").command_in_turns(jobs)
    assert command[-8:] == [
        "--model", "a.tflite", "--input", "a.bin", "--model", "b.tflite", "--input", "b.bin",
    ]  # fmt: skip
    assert command[:-8] == MvkitRunner("tflite").command(jobs[0])[:-4]


def test_what_was_not_asked_for_is_not_given() -> None:
    command = MvkitRunner("executorch").command(JOB)
    assert command[1] == "mvkit-executorch/run"
    assert not {"--outputs", "--cores", "--profile", "--memory"} & set(command)


@pytest.mark.parametrize(("target", "backend"), [("executorch", "gpu"), ("tflite", "nnapi")])
def test_a_backend_that_the_runtime_lacks_is_refused(target: str, backend: str) -> None:
    job = Job("m", (), None, Options(backend=backend))
    with pytest.raises(UsageError, match=f"--backend {backend}: .*{target}.* has xnnpack"):
        MvkitRunner(target).command(job)
