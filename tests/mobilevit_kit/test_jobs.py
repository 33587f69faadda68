"""Conversions one after another and several at once, and what must not stop the others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from converters.errors import ConversionError, MvkitError, UsageError
from converters.recipe import Recipe
from converters.route import Route
from converters.targets import tflite
from mobilevit_kit import jobs, source
from mobilevit_kit.jobs import Job, Outcome, check_job, check_jobs, run_job, run_jobs
from mobilevit_kit.source import InputText, SourceRequest
from tests.mobilevit_kit.commands import contents, own

NET_INPUT = own().inputs


def job(model: str = "net.py:make", **options: Any) -> Job:
    request = SourceRequest(model, inputs=NET_INPUT)
    given = {"request": request, "recipe": Recipe("tflite"), "output_dir": Path("out")}
    return Job(**{**given, **options})


def quiet(name: str, phase: str) -> None:
    pass


def test_checks_that_import_nothing() -> None:
    with pytest.raises(UsageError, match="unknown target 'tflight'; did you mean tflite"):
        check_job(job(recipe=Recipe("tflight")))
    with pytest.raises(UsageError, match="unknown model 'mobilevit_xz'; did you mean"):
        check_job(Job(SourceRequest("mobilevit_xz"), Recipe("tflite"), Path("out")))
    check_jobs([job("a.py:make"), job("a.py:other"), job("b.py:make")])
    with pytest.raises(UsageError, match=r"a/net.py:make and b/net.py:make .*, net-make-fp32"):
        check_jobs([job("a/net.py:make"), job("c.py:make"), job("b/net.py:make")])


def test_phases_and_the_second_time(workplace: Path, quick_conversion: None) -> None:
    phases: list[str] = []
    outcome = run_job(job(verify=False), phases.append)
    assert phases[0] == "building the network" and "converting" in phases
    assert outcome.artifact is not None and not outcome.unchanged
    before = contents(Path("out"))
    assert sorted(before) == [
        "net-make-fp32.tflite",
        "net-make-fp32.tflite.golden.npz",
        "net-make-fp32.tflite.json",
    ]
    phases.clear()
    again = run_job(job(verify=False), phases.append)
    assert again.unchanged and again.artifact == outcome.artifact and phases == []
    assert contents(Path("out")) == before


@pytest.mark.parametrize("what", ["code", "seed", "layout", "input"])
def test_a_different_file_of_the_same_name_needs_force(
    workplace: Path, quick_conversion: None, what: str
) -> None:
    run_job(job(verify=False))
    before = contents(Path("out"))
    changed: dict[str, Any] = {"verify": False}
    if what == "code":
        Path("net.py").write_text(Path("net.py").read_text().replace("relu", "sigmoid"))
        source._user_module.cache_clear()
    elif what == "seed":
        changed["request"] = SourceRequest("net.py:make", seed=1, inputs=NET_INPUT)
    elif what == "input":
        inputs = (InputText("image", (1, 3, 32, 48)),)
        changed["request"] = SourceRequest("net.py:make", inputs=inputs)
    else:
        changed["layout"] = "nhwc"
    with pytest.raises(UsageError, match="made from other weights, options or versions; pass --fo"):
        run_job(job(**changed))
    assert contents(Path("out")) == before
    assert not run_job(job(**changed, force=True)).unchanged
    assert contents(Path("out")) != before


def test_each_error_stays_with_its_job(
    workplace: Path, quick_conversion: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's mistake, a fault of ours, a full disk and full memory, one after another."""
    build = jobs.build_source

    def build_or_fail(request: SourceRequest) -> Any:
        if request.model == "net.py:Net":
            raise RuntimeError("our own\nfault")
        if request.model == "net.py:instance":
            raise OSError(28, "No space left on device", "/tmp/somewhere")
        if request.model == "net.py:nn.Identity":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        return build(request)

    monkeypatch.setattr(jobs, "build_source", build_or_fail)
    attributes = ("nothing", "Net", "instance", "nn.Identity", "make")
    models = [f"net.py:{attribute}" for attribute in attributes]
    outcomes = list(run_jobs([job(model, verify=False) for model in models], 1, quiet))
    assert [outcome.job.request.model for outcome in outcomes] == models
    mistake, fault, full, memory, made = (outcome.error for outcome in outcomes)
    assert isinstance(mistake, UsageError) and "no attribute 'nothing'" in str(mistake)
    assert isinstance(fault, ConversionError) and isinstance(fault.__cause__, RuntimeError)
    assert str(fault) == "internal error: RuntimeError: our own fault; --debug shows where"
    assert isinstance(full, UsageError) and str(full) == "/tmp/somewhere: No space left on device"
    assert isinstance(memory, ConversionError)
    assert str(memory) == "there is not enough memory for this"
    assert made is None and outcomes[4].artifact is not None


@pytest.mark.parametrize("fails", [False, True])
def test_ctrl_c_waits_until_a_vendors_converter_returns(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """What is raised within is swallowed there, or aborts the process with its files half-written.

    Afterwards it counts, even if the converter fails for another reason.
    """
    returned = []

    def save(form: Any, path: Path, recipe: Any) -> Route:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        path.write_bytes(b"converted")
        returned.append(form)
        if fails:
            raise ConversionError("no such operator")
        return Route("direct")

    monkeypatch.setattr(tflite, "save", save)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs([job(verify=False), job("net.py:Net", verify=False)], 1, quiet))
    assert len(returned) == 1 and contents(Path("out")) == {}
    assert signal.getsignal(signal.SIGINT) is handler

    def save_at_once(form: Any, path: Path, recipe: Any) -> Route:
        path.write_bytes(b"file")
        return Route("direct")

    monkeypatch.setattr(tflite, "save", save_at_once)
    (outcome,) = run_jobs([job(verify=False)], 1, quiet)
    assert outcome.error is None


def test_ctrl_c_counts_at_once_elsewhere_and_the_second_time(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = []

    def save(*args: Any) -> None:
        for press in ("first", "second"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            reached.append(press)

    monkeypatch.setattr(tflite, "save", save)
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs([job(verify=False)], 1, quiet))
    assert reached == ["first"]
    Path("slow.py").write_text(
        "import os, signal, time\ndef make():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(0.01)\n"
    )
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs([job("slow.py:make")], 1, quiet))


WORKERS = """
import os, signal, sys, time, torch
from pathlib import Path

def die():
    os._exit(9)

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

def fails():
    print("said by the factory")
    raise ValueError("a mistake")

def waits():
    Path("pid").write_text(str(os.getpid()))
    try:
        time.sleep(60)
        Path("slept").touch()
    finally:
        Path("cleared").touch()
"""


@pytest.mark.slow  # workers import torch
def test_a_worker_that_dies_takes_only_its_job_along(
    workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("work.py").write_text(WORKERS)
    models = [f"work.py:{name}" for name in ("die", "fails", "killed", "missing")]
    reports: list[tuple[str, str]] = []
    errors: dict[str, MvkitError | None] = {}
    for outcome in run_jobs([job(model) for model in models], 2, lambda *p: reports.append(p)):
        errors[outcome.job.request.model] = outcome.error
    assert list(map(str, (errors[model] for model in models))) == [
        "the converting process died; is there enough memory?",
        "work.py:fails fails when it is called: ValueError: a mistake",
        "the converting process died; is there enough memory?",
        "work.py has no attribute 'missing'",
    ]
    notes = errors["work.py:fails"].__notes__
    assert "in fails" in notes[0] and "ValueError: a mistake" in notes[0]
    out, err = capfd.readouterr()
    assert (out, err) == ("", "said by the factory\n")
    assert os.environ.get("PYTHONSAFEPATH") is None


@pytest.mark.slow  # workers import torch
def test_a_caller_that_stops_early_stops_the_workers(workplace: Path) -> None:
    Path("work.py").write_text(WORKERS)
    outcomes: Iterator[Outcome] = run_jobs([job("work.py:waits"), job("work.py:fails")], 2, quiet)
    assert next(outcomes).job.request.model == "work.py:fails"
    while not (Path("pid").exists() and Path("pid").read_text()):
        time.sleep(0.05)
    outcomes.close()  # type: ignore[attr-defined]
    assert Path("cleared").exists() and not Path("slept").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("pid").read_text()), 0)
