"""The native runners on this host: right outputs, honest reports, an error line for each fault."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from android_harness.bundles import Bundle
from android_harness.records import Options
from android_harness.runners.base import Job, Report
from android_harness.runners.mvkit import MvkitRunner
from converters import Artifact
from converters.errors import DeviceError
from converters.runtimes.base import run_file
from tests.android_harness.runners.native import QUICK, Ended, raw_inputs, raw_outputs, report, run


@dataclass(frozen=True)
class Place:
    """A runner, a file for it and a job that works."""

    bundle: Bundle
    artifact: Artifact
    job: Job
    folder: Path

    def run(self, *more: str, **how: object) -> Ended:
        command = MvkitRunner(self.bundle.target).command(self.job)
        return run(self.bundle, [*command, *more], **how)


Setup = Callable[..., Place]


@pytest.fixture(params=["tflite", "executorch"])
def place(
    request: pytest.FixtureRequest,
    bundled: Callable[..., Bundle],
    converted: Callable[..., Artifact],
    tmp_path: Path,
) -> Setup:
    def make(name: str = "classifier", case: int = 0, **job: object) -> Place:
        artifact = converted(name, request.param)
        inputs = raw_inputs(artifact, artifact.golden()[case], tmp_path)
        outputs = str(tmp_path / "out")
        whole = replace(Job(str(artifact.path), inputs, outputs, QUICK), **job)
        return Place(bundled(request.param), artifact, whole, tmp_path)

    return make


def refusal(ended: Ended, code: int = 1) -> str:
    """The message of a run that has to fail."""
    assert ended.code == code, ended
    with pytest.raises(DeviceError) as refused:
        MvkitRunner("tflite").read(ended.output, ended.errors)
    return refused.value.message


@pytest.mark.parametrize("name", ["classifier", "mixed", "mobilevit"])
def test_outputs_are_the_golden_ones_and_those_of_the_vendors_python_runtime(
    place: Setup, name: str
) -> None:
    here = place(name)
    case = here.artifact.golden()[0]
    found = report(here.bundle, here.job)
    outputs = raw_outputs(here.artifact, case, here.folder / "out")
    (vendors,) = run_file(
        here.bundle.target, here.artifact.path, [case.inputs],
        inputs=list(case.inputs), outputs=list(case.outputs),
    ).results  # fmt: skip
    for (output, array), said in zip(outputs.items(), found.outputs, strict=True):
        largest = abs(case.outputs[output]).max()
        assert abs(array - case.outputs[output]).max() <= 1e-5 * largest
        assert abs(array - vendors[output]).max() <= 1e-6 * largest
        assert (said.bytes, said.crc32) == (array.nbytes, zlib.crc32(array.tobytes()))


def test_each_input_reaches_the_outputs(place: Setup) -> None:
    here = place("mixed")
    case = here.artifact.golden()[0]
    report(here.bundle, here.job)
    before = raw_outputs(here.artifact, case, here.folder / "out")
    for i in range(len(here.artifact.manifest.inputs)):
        data = Path(here.job.inputs[i]).read_bytes()
        Path(here.job.inputs[i]).write_bytes(bytes(len(data)))
        report(here.bundle, here.job)
        after = raw_outputs(here.artifact, case, here.folder / "out")
        assert any(not np.array_equal(after[name], before[name]) for name in before)
        before = after


def test_as_many_runs_are_timed_as_were_asked_for(place: Setup) -> None:
    here = place(options=replace(QUICK, warmup=4, iterations=7))
    timings = report(here.bundle, here.job).timings
    assert (len(timings.warmup), len(timings.samples or ())) == (4, 7)
    assert timings.delegate is not None and "xnnpack" in timings.delegate.lower()
    none = report(here.bundle, replace(here.job, options=replace(QUICK, warmup=0)))
    assert none.timings.warmup == ()


def test_runs_go_on_for_the_least_duration(place: Setup) -> None:
    here = place(options=replace(QUICK, iterations=1, min_seconds=0.2))
    assert len(report(here.bundle, here.job).timings.samples or ()) > 1


def test_the_profile_names_operators_and_only_when_asked(place: Setup) -> None:
    here = place()
    assert report(here.bundle, here.job).profile == ()
    found = report(here.bundle, replace(here.job, profile=True))
    longer = replace(here.job, profile=True, options=replace(QUICK, iterations=6))
    assert len(report(here.bundle, longer).profile) == len(found.profile)
    kinds = [row.kind for row in found.profile]
    assert any("Convolution" in kind for kind in kinds), kinds
    assert [row.name for row in found.profile] == [str(i) for i in range(len(kinds))]
    assert all(row.count == 1 for row in found.profile)
    assert sum(row.time for row in found.profile) <= max(found.timings.samples or ())


def test_peak_memory_is_given_when_asked(place: Setup) -> None:
    here = place()
    assert report(here.bundle, here.job).timings.peak_memory is None
    memory = report(here.bundle, replace(here.job, memory=True)).timings.peak_memory
    assert memory is not None and 2 < memory < 500  # MiB: a runtime and a tiny network


def test_cores_are_kept_to(place: Setup) -> None:
    last = max(os.sched_getaffinity(0))
    here = place(options=replace(QUICK, cores=1 << last))
    report(here.bundle, here.job)
    assert "--cores" in refusal(replace_options(here, cores=1 << 62).run())


def replace_options(here: Place, **options: object) -> Place:
    return replace(here, job=replace(here.job, options=replace(here.job.options, **options)))


def turns(place: Setup, *names: str, **options: object) -> tuple[Bundle, list[Job]]:
    """Jobs for files of these networks that take turns."""
    jobs = []
    for name in names:
        here = place(name, outputs=None, options=replace(QUICK, **options))
        inputs = []
        for file in here.job.inputs:  # each network's are called the same
            inputs.append(f"{file}.{name}")
            Path(file).rename(inputs[-1])
        jobs.append(replace(here.job, inputs=tuple(inputs)))
    return here.bundle, jobs


def reports(bundle: Bundle, jobs: list[Job]) -> list[Report]:
    runner = MvkitRunner(bundle.target)
    ended = run(bundle, runner.command_in_turns(jobs))
    return runner.read_in_turns(ended.output, ended.errors, len(jobs))


def test_files_take_turns_in_one_process(place: Setup) -> None:
    bundle, jobs = turns(place, "classifier", "mobilevit", "mixed", iterations=6)
    found = reports(bundle, jobs)
    assert len(found) == 3
    for one in found:
        samples, turns_of_one = one.timings.samples, one.timings.turns
        assert samples is not None and sum(turns_of_one) == len(samples) >= 6
        assert len(turns_of_one) == len(found[0].timings.turns)
        assert min(turns_of_one) >= 2
        assert one.timings.load and one.timings.first and len(one.timings.warmup) == 1
    # Each is the file that it says: a large one takes longer beside a small one, too.
    small, large = (statistics.median(one.timings.samples or ()) for one in found[:2])
    assert large > 2 * small


def test_turns_go_on_for_the_least_duration_of_each(place: Setup) -> None:
    bundle, jobs = turns(place, "classifier", "mobilevit", iterations=1, min_seconds=0.1)
    for one in reports(bundle, jobs):
        assert sum(one.timings.samples or ()) >= 90
        assert len(one.timings.turns) > 1


@pytest.mark.parametrize("more", [["--profile"], ["--memory"], ["--outputs", "out"]])
def test_several_files_are_timed_and_nothing_else(place: Setup, more: list[str]) -> None:
    bundle, jobs = turns(place, "classifier", "mobilevit")
    ended = run(bundle, [*MvkitRunner(bundle.target).command_in_turns(jobs), *more])
    assert "--model: several models are timed, nothing else" in refusal(ended, code=2)


def test_one_that_is_missing_among_several_is_named(place: Setup) -> None:
    bundle, jobs = turns(place, "classifier", "mobilevit")
    ended = run(
        bundle,
        MvkitRunner(bundle.target).command_in_turns([jobs[0], replace(jobs[1], model="nowhere")]),
    )
    assert "nowhere" in refusal(ended)


def test_this_host_is_not_emulated(place: Setup) -> None:
    here = place()
    assert not report(here.bundle, here.job).emulated


def test_a_damaged_file_gives_an_error_line_and_no_signal(place: Setup) -> None:
    """Whatever the runtime makes of it: refusal, crash, or outputs that parity will refuse."""
    here = place()
    data = here.artifact.path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = here.folder / "damaged"
    noise = [rng.integers(0, 256, len(data), np.uint8).tobytes() for _ in range(2)]
    for bad in (b"", data[:7], data[: len(data) // 3], data[: len(data) * 9 // 10], *noise):
        damaged.write_bytes(bad)
        ended = replace(here, job=replace(here.job, model=str(damaged))).run()
        if ended.code == 0:
            continue
        assert "the runner failed: " in refusal(ended)


def test_garbage_is_refused(place: Setup) -> None:
    here = place()
    (here.folder / "garbage").write_bytes(b"garbage" * 1000)
    job = replace(here.job, model=str(here.folder / "garbage"))
    assert "cannot load" in refusal(replace(here, job=job).run())


def test_a_missing_file_is_named(place: Setup) -> None:
    here = place()
    missing = replace(here, job=replace(here.job, model="nowhere.bin"))
    assert "nowhere.bin" in refusal(missing.run())


@pytest.mark.parametrize(("change", "why"), [(-1, "less than the"), (1, "more than the")])
def test_an_input_of_another_size_is_refused(place: Setup, change: int, why: str) -> None:
    here = place()
    file = Path(here.job.inputs[0])
    size = file.stat().st_size
    file.write_bytes(bytes(size + change))
    assert f"in-0.bin: has {why} {size} bytes" in refusal(here.run())


def test_another_number_of_inputs_is_refused(place: Setup) -> None:
    here = place()
    assert "takes 1 inputs, 2 were given" in refusal(here.run("--input", here.job.inputs[0]))


def test_an_input_that_is_missing_is_named(place: Setup) -> None:
    here = place(inputs=("nowhere.bin",))
    assert "nowhere.bin: No such file" in refusal(here.run())


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--coffee", "1"], "--coffee: unknown option"),
        (["--threads"], "--threads: unknown, or lacks its value"),
        (["--threads", "0"], "--threads 0: not a whole number"),
        (["--iterations", "ten"], "--iterations ten: not a whole number"),
        (["--warmup", "99999999999"], "--warmup 99999999999: not a whole number"),
        (["--min-seconds", "nan"], "--min-seconds nan: not a time"),
        (["--cores", "0"], "--cores 0: not a mask"),
        (["--cores", "-1"], "--cores -1: not a mask"),
        (["--backend", "coffee"], "--backend coffee: "),
    ],
)
def test_a_mistake_on_the_command_line_is_named(
    place: Setup, arguments: list[str], why: str
) -> None:
    assert why in refusal(place().run(*arguments), code=2)


def test_outputs_that_cannot_be_written_are_an_error(place: Setup) -> None:
    here = place(outputs="/proc/nowhere/out")
    assert "/proc/nowhere/out-0.bin.part: " in refusal(here.run())


def test_a_full_disk_leaves_no_output(place: Setup) -> None:
    """A limit on the size of files stands for it."""
    here = place()
    ended = here.run(before=["prlimit", "--fsize=5"])
    assert "cannot be written: File too large" in refusal(ended)
    assert not list(here.folder.glob("out*"))


def test_a_report_that_cannot_be_written_ends_the_run(place: Setup) -> None:
    here = place()
    command = MvkitRunner(here.bundle.target).command(here.job)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, cwd=here.bundle.path.parent, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert b"cannot write its report: No space left" in done.stderr


def ended_by(here: Place, number: signal.Signals) -> Ended:
    """A run that gets a signal while it runs the model."""
    process = subprocess.Popen(
        MvkitRunner(here.bundle.target).command(here.job), cwd=here.bundle.path.parent,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    seen = ""
    while '"first"' not in seen:
        seen += process.stdout.readline()
    process.send_signal(number)
    rest, _ = process.communicate()
    return Ended(process.returncode, seen + rest, "")


def test_a_runner_that_is_killed_gives_no_report(place: Setup) -> None:
    ended = ended_by(place(options=Options(min_seconds=60)), signal.SIGKILL)
    assert "ends early" in refusal(ended, code=-signal.SIGKILL)


@pytest.mark.parametrize(
    ("number", "what"),
    [(signal.SIGSEGV, "segmentation fault"), (signal.SIGABRT, "aborted by a library")],
)
def test_a_crash_is_told_with_what_was_being_done(
    place: Setup, number: signal.Signals, what: str
) -> None:
    """The signal stands for a crash inside the vendor's library."""
    ended = ended_by(place(options=Options(min_seconds=60)), number)
    assert refusal(ended) == f"the runner failed: crashed while running the model: {what}"


def test_a_backend_that_is_not_there_is_no_silent_fallback(
    bundled: Callable[..., Bundle], converted: Callable[..., Artifact], tmp_path: Path
) -> None:
    artifact = converted("classifier")
    inputs = raw_inputs(artifact, artifact.golden()[0], tmp_path)
    runner = MvkitRunner("tflite")
    job = Job(str(artifact.path), inputs, None, replace(QUICK, backend="npu"))
    ended = run(bundled("tflite"), runner.command(job))
    assert "LiteRT cannot compile the model" in refusal(ended)


def test_a_library_that_is_missing_is_named(
    bundled: Callable[..., Bundle], converted: Callable[..., Artifact], tmp_path: Path
) -> None:
    whole = bundled("tflite")
    folder = tmp_path / "mvkit-litert"
    folder.mkdir()
    for name in ("run", "mvkit-litert"):
        (folder / name).write_bytes((whole.path / name).read_bytes())
        (folder / name).chmod(0o755)
    job = Job(str(converted("classifier").path), (), None, QUICK)
    ended = run(replace(whole, path=folder), MvkitRunner("tflite").command(job))
    assert "libLiteRt.so" in refusal(ended)
