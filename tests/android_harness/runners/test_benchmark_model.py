"""Both programs called `benchmark_model`: what each prints, in all its variants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness.records import Options, Timings
from android_harness.runners.base import Job
from android_harness.runners.benchmark_model import BenchmarkModel
from converters.errors import DeviceError, UsageError
from converters.manifest import TensorSpec

# TFLite's, a build of 2025.
TFLITE = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
WARN: Unconsumed cmdline flags: --use_cpu=true
INFO: Loaded model m.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 2168 out of 2168 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 \
partitions for subgraph 0.
INFO: The input model file size (MB): 24.6229
INFO: Initialized session in 119.515ms.
INFO: Running benchmark for at least 5 iterations and at least 0.5 seconds but terminate if \
exceeding 150 seconds.
INFO: count=9 first=87112 curr=51629 min=51629 max=87112 avg=58147.4 std=11478 p5=51629 \
median=51962 p95=87112

INFO: Running benchmark for at least 1000 iterations and at least 1 seconds but terminate if \
exceeding 150 seconds.
INFO: count=1000 first=52162 curr=49785 min=49088 max=686105 avg=63743.2 std=60716 p5=49620 \
median=51891 p95=68628

INFO: Inference timings in us: Init: 119515, First inference: 87112, Warmup (avg): 58147.4, \
Inference (avg): 63743.2
INFO: Memory footprint delta from the start of the tool (MB): init=55.4961 overall=55.4961
INFO: Overall peak memory footprint (MB) via periodic monitoring: 71.25
"""
OLD = (
    TFLITE.replace(" p5=49620 median=51891 p95=68628", "")
    .replace("2168 out of 2168", "2168")
    .replace("INFO: Overall peak memory footprint (MB) via periodic monitoring: 71.25\n", "")
)
# LiteRT's: the summary goes to standard error.
LITERT_OUT = """\
INFO: count=3 first=21000 curr=20500 min=20500 max=21000 avg=20750 std=204 p5=20500 median=20750 \
p95=21000

INFO: count=50 first=20100 curr=20300 min=20000 max=22000 avg=20400.5 std=312 p5=20010 \
median=20350 p95=21000
"""
LITERT_ERR = """\
INFO: [benchmark_litert_model.h:83]
========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:84] Model initialization: 45.67 ms
INFO: [benchmark_litert_model.h:85] Warmup (first):       21.00 ms
INFO: [benchmark_litert_model.h:87] Warmup (avg):         20.75 ms (3 runs)
INFO: [benchmark_litert_model.h:89] Inference (avg):      20.40 ms (50 runs)
INFO: [benchmark_litert_model.h:93] Inference (min):      20.00 ms
INFO: [benchmark_litert_model.h:95] Inference (max):      22.00 ms
INFO: [benchmark_litert_model.h:97] Inference (std):      0.31
INFO: [benchmark_litert_model.h:113] Memory Usage:
INFO: [benchmark_litert_model.h:114] Init footprint:       30.10 MB
INFO: [benchmark_litert_model.h:116] Overall footprint:    33.20 MB
INFO: [benchmark_litert_model.h:121] Peak memory:          40.50 MB
======================================
"""

IMAGE = TensorSpec("image", (1, 3, 32, 48), "float32")
IDS = TensorSpec("ids", (1, 5), "int64")
RUNNER = BenchmarkModel("/data/local/tmp/benchmark_model", (IMAGE, IDS), 1)


def read(output: str, errors: str = "") -> Timings:
    return RUNNER.read(output, errors).timings


def test_tflites_figures_are_those_of_the_timed_iterations_in_milliseconds() -> None:
    timings = read(TFLITE)
    assert timings.summary == pytest.approx(
        {
            "first": 52.162, "curr": 49.785, "min": 49.088, "max": 686.105, "avg": 63.7432,
            "std": 60.716, "p5": 49.62, "median": 51.891, "p95": 68.628, "init": 119.515,
        }
    )  # fmt: skip
    assert timings.first == 87.112
    assert timings.peak_memory == 71.25
    assert timings.delegate == "TfLiteXNNPackDelegate"


def test_what_it_does_not_print_is_absent() -> None:
    timings = read(OLD)
    assert not {"p5", "median", "p95"} & timings.summary.keys()
    assert timings.summary["avg"] == pytest.approx(63.7432)
    assert timings.peak_memory is None
    assert (timings.load, timings.compile, timings.samples, timings.warmup) == (
        None,
        None,
        None,
        (),
    )
    assert timings.delegate == "TfLiteXNNPackDelegate"


def test_litert_is_told_by_its_summary() -> None:
    timings = read(LITERT_OUT, LITERT_ERR)
    assert timings.summary == pytest.approx(
        {
            "first": 20.1, "curr": 20.3, "min": 20.0, "max": 22.0, "avg": 20.4005, "std": 0.312,
            "p5": 20.01, "median": 20.35, "p95": 21.0, "init": 45.67, "warmup_avg": 20.75,
        }
    )  # fmt: skip
    assert (timings.first, timings.peak_memory, timings.samples) == (21.0, 40.5, None)


def test_both_streams_in_one_are_read_alike() -> None:
    assert read(LITERT_OUT + LITERT_ERR) == read(LITERT_OUT, LITERT_ERR)


@pytest.mark.parametrize("line", ["count=50 curr=20400(all same)", "count=1 curr=20400"])
def test_figures_that_are_all_the_same(line: str) -> None:
    start = TFLITE.rindex("count=1000")
    end = TFLITE.index("\n", start)
    summary = read(TFLITE[:start] + line + TFLITE[end:]).summary
    assert [summary[name] for name in ("min", "median", "avg", "max")] == [20.4] * 4
    assert not {"p5", "p95", "std"} & summary.keys()


@pytest.mark.parametrize(
    ("said", "delegate"),
    [
        (
            "INFO: Explicitly applied GPU delegate, and the model graph will be completely "
            "executed by the delegate.",
            "GPU",
        ),
        (
            "INFO: Explicitly applied GPU delegate, and the model graph will be partially executed "
            "by the delegate w/ 3 delegate kernels.",
            "GPU (in part)",
        ),
        (
            "Replacing 10 out of 12 node(s) with delegate (A) node, yielding 2 partitions\n"
            "Replacing 2 out of 2 node(s) with delegate (B) node, yielding 1 partitions",
            "A (in part), B",
        ),
        ("", None),
    ],
)
def test_the_delegate_is_named_with_its_extent(said: str, delegate: str | None) -> None:
    lines = [line for line in TFLITE.splitlines() if "Replacing" not in line]
    assert read("\n".join([*lines, said, ""])).delegate == delegate


def test_a_failure_is_told_with_its_reason() -> None:
    errors = "ERROR: Failed to load model m.tflite\nERROR: Benchmarking failed.\n"
    with pytest.raises(DeviceError, match=r"it failed: ERROR: Failed to load model m\.tflite"):
        read("INFO: STARTING!\n", errors)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("count=1000 ", "count=0 "),
        ("avg=63743.2", "avg=nan"),
        ("avg=63743.2", "avg=1e999"),
        ("avg=63743.2", "avg=-3"),
        ("avg=63743.2", "avg=1"),
        ("min=49088", "min=0"),
        ("max=686105", ""),
        ("Init: 119515", "Init: x"),
        ("First inference: 87112", "First inference: 0"),
        ("monitoring: 71.25", "monitoring: -1"),
    ],
)
def test_an_impossible_figure_is_refused(old: str, new: str) -> None:
    assert old in TFLITE
    with pytest.raises(DeviceError):
        read(TFLITE.replace(old, new))


@given(st.integers(0, len(TFLITE) - 1), st.integers(0, len(LITERT_ERR)))
def test_a_beginning_of_the_output_gives_no_other_figure(end: int, end_of_litert: int) -> None:
    for whole, begun in (
        ((TFLITE, ""), (TFLITE[:end], "")),
        ((LITERT_OUT, LITERT_ERR), (LITERT_OUT, LITERT_ERR[:end_of_litert])),
    ):
        try:
            timings = read(*begun)
        except DeviceError:
            continue
        assert replace(timings, peak_memory=None) == replace(read(*whole), peak_memory=None)
        assert timings.peak_memory in (None, read(*whole).peak_memory)


@pytest.mark.parametrize("end", [TFLITE.index("INFO: Inference timings") + 30, 900, 0])
def test_output_that_ends_before_its_summary_is_refused(end: int) -> None:
    with pytest.raises(DeviceError):
        read(TFLITE[:end])
    with pytest.raises(DeviceError):
        read(LITERT_OUT, LITERT_ERR[: LITERT_ERR.index("0.31")])


@given(st.text(), st.integers(0, len(TFLITE)), st.integers(0, 60))
def test_garbage_is_refused_or_does_no_harm(garbage: str, place: int, over: int) -> None:
    try:
        timings = read(TFLITE[:place] + garbage + TFLITE[place + over :])
    except DeviceError:
        return
    assert timings.samples is None
    assert all(0 <= value < float("inf") for value in timings.summary.values())


def test_the_command_is_for_both_programs() -> None:
    options = Options(threads=2, warmup=3, iterations=20, min_seconds=0)
    job = Job("m.tflite", ("a.bin", "b.bin"), "out", options, memory=True)
    assert RUNNER.command(job) == [
        "/data/local/tmp/benchmark_model", "--graph=m.tflite", "--use_xnnpack=true",
        "--use_cpu=true", "--num_threads=2", "--warmup_runs=3", "--warmup_min_secs=0",
        "--num_runs=20", "--min_secs=0", "--input_layer=input0,input1",
        "--input_layer_shape=1,3,32,48:1,5",
        "--input_layer_value_files=input0:a.bin,input1:b.bin", "--output_filepath=out-0.bin",
        "--report_peak_memory_footprint=true",
    ]  # fmt: skip


def test_a_program_here_is_pushed_and_started_by_its_name(tmp_path: Path) -> None:
    program = tmp_path / "benchmark_model"
    program.touch()
    runner = BenchmarkModel(str(program), (), 1)
    assert runner.files(["arm64-v8a"]) == program
    command = runner.command(Job("m.tflite", (), None, Options(cores=0b11)))
    assert command[:4] == ["taskset", "3", "./benchmark_model", "--graph=m.tflite"]
    assert RUNNER.files(["arm64-v8a"]) is None


def test_a_path_that_is_nowhere_is_refused() -> None:
    with pytest.raises(UsageError, match="no such file"):
        BenchmarkModel("benchmark_model", (), 1).files([])


def test_jobs_that_it_cannot_do_are_refused() -> None:
    with pytest.raises(UsageError, match="--profile"):
        RUNNER.command(Job("m.tflite", (), None, Options(), profile=True))
    with pytest.raises(UsageError, match="--backend nnapi"):
        RUNNER.command(Job("m.tflite", (), None, Options(backend="nnapi")))
    with pytest.raises(UsageError, match="several outputs"):
        BenchmarkModel("/b", (IMAGE,), 2).command(Job("m.tflite", ("a",), "out", Options()))
