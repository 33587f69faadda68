"""What the child process may do wrong, and what the command then says: real processes each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converters import Artifact
from converters.errors import MissingExtraError, UsageError
from converters.runtimes import base
from converters.runtimes.base import FileRun, Port, run_file
from tests.converters.runtimes.standins import (
    ANSWER,
    CASES,
    FILE,
    SAVE,
    Stand,
    failure,
    say,
)

# what comes back --------------------------------------------------------------------------------


def test_outputs_and_report_of_a_runtime(runtime: Stand) -> None:
    runtime("")
    run = run_file("standin", FILE, CASES, threads=2, timed_runs=5)
    assert [list(one["y"]) for one in run.results] == [[0, 2, 4], [2, 2, 2]]
    assert run.runtime == "doubler 1.0"
    assert run.inputs == (Port("x", (3,), "float32"),)
    assert run.graph.operators == {"MUL": 1} and run.graph.delegate is None
    assert run.latency is not None and (run.latency.threads, run.latency.runs) == (2, 5)
    assert 0 <= run.latency.median_ms < 1000
    assert run_file("standin", FILE, CASES).latency is None
    assert run_file("standin", FILE, [], timed_runs=5).results == ()


def test_what_a_runtime_prints_does_not_reach_the_answer(runtime: Stand) -> None:
    runtime("""
        import os
        os.write(1, b"as the process starts, without a line break")

        def open_session(request):
            print("no line break", end="", flush=True)
            os.write(1, b'\\n{"mvkit-child": {"error": "not mine"}}\\n')
            os.write(2, b"INFO: created")
            assert os.path.samestat(os.fstat(1), os.stat(os.devnull))  # however much it is
            return Session()
    """)
    assert run_file("standin", FILE, CASES).runtime == "doubler 1.0"


# crashes, silence and nonsense ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "crashed (SIGKILL); perhaps for want of memory"),
        ("import ctypes; ctypes.string_at(0)", "crashed (SIGSEGV)"),
        ("os.abort()", "crashed (SIGABRT)"),
        ("os.kill(os.getpid(), 50)", "crashed (signal 50)"),
        (say(ANSWER) + "sys.stdout.flush(); os.abort()", "crashed (SIGABRT)"),
        ("", "ended with code 0 and no result"),
        ("os.write(1, os.urandom(10_000) + b'\\n')", "ended with code 0 and no result"),
        ("os.write(1, b'x' * 30_000_000)", "ended with code 0 and no result"),
        ("print('[' * 100_000)", "ended with code 0 and no result"),
        ("sys.exit(3)", "ended with code 3 and no result"),
        ("raise ValueError('boom')", "ended with code 1 and no result: ValueError: boom"),
        ("os.write(2, b'\\x1b[31m red \\xff\\n\\n'); sys.exit(9)", "no result: ?[31m red \ufffd"),
        (say(ANSWER) + "sys.exit(4)", "ended with code 4 and no result"),
        (say(5), "ended with code 0 and no result"),
        (say([]), "ended with code 0 and no result"),
        ("print('{\"mvkit-child\": NaN}')", "ended with code 0 and no result"),
        (say({}), "the runtime's answer cannot be read: "),
        (say({"missing": 3}), "the runtime's answer cannot be read: "),
        (say({"missing": {"package": "p"}}), "the runtime's answer cannot be read: "),
        (say({"error": "two\nlines \x1b[2J"}), "refuses this file: two lines ?[2J"),
        (say({"error": {"a": ["b"]}}), "refuses this file: {'a': ['b']}"),
        (say({"error": "long " * 1000}), "refuses this file: long long"),
        (say(ANSWER), "the runtime's answer cannot be read: "),
    ],
)
def test_a_broken_child_is_one_line(code: str, message: str, child: Stand) -> None:
    child(code)
    assert message in failure()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("open(out, 'wb').write(b'PK nonsense')", "cannot be read"),
        ("open(out, 'wb').write(b'')", "cannot be read"),
        ("np.savez(out, **{'0/y': x}); os.truncate(out, 200)", "cannot be read"),
        ("np.savez(out, **{'7/y': x})", "cannot be read"),
        ("np.savez(out, **{'y': x})", "cannot be read"),
        ("np.savez(out, **{'-1/y': x})", "cannot be read"),
        ("np.savez(out, **{'0/y': np.array([{}], object)})", "cannot be read"),
        ("zipfile.ZipFile(out, 'w').writestr('0/y', 'text')", "cannot be read"),
    ],
)
def test_a_broken_archive_of_outputs_is_one_line(code: str, message: str, child: Stand) -> None:
    child(
        "import numpy as np, zipfile\nout, x = request['returned'], np.ones(3)\n"
        f"{code}\n{say(ANSWER)}"
    )
    assert message in failure()


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": [{"name": "x"}]},
        {"inputs": 3},
        {"graph": {"delegate": None}},
        {"graph": {"operators": [1]}},
        {"graph": {"operators": {"ADD": "many"}}},
        {"latency": {"median": 3}},
        {"runtime": None},
    ],
)
def test_a_broken_report_is_one_line(change: dict[str, Any], child: Stand) -> None:
    child(SAVE + say(ANSWER | change))
    assert "the runtime's answer cannot be read" in failure()


def test_the_stand_in_without_a_fault_is_read(child: Stand) -> None:
    """So that the two tests above fail for their own reasons."""
    child(SAVE + say(ANSWER))
    assert isinstance(run_file("standin", FILE, CASES), FileRun)


@pytest.mark.parametrize("executable", ["/no/such/python", "/", ""])
def test_no_python_to_start(executable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base.sys, "executable", executable)
    assert "the runtime's process does not start" in failure()


def test_no_room_for_the_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(base.np, "savez", full)
    with pytest.raises(UsageError, match=r"cannot write to .*: No space left on device"):
        run_file("standin", FILE, CASES)


# a file that the runtime does not like ----------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def open_session(request): raise ValueError('two\\nlines')",
            "ValueError: two lines",
        ),
        ("def open_session(request): raise MemoryError", "refuses this file: MemoryError"),
        ("def open_session(request): raise RuntimeError('x' * 10**7)", "RuntimeError: xxx"),
        ("def open_session(request): raise RuntimeError('\\udc80')", "RuntimeError: ?"),
        ("def open_session(request): open_session(request)", "RecursionError"),
        ("Session.run = lambda self, inputs: inputs['z']", "KeyError: 'z'"),
        ("Session.run = lambda self, inputs: {'y': {1}}", "refuses this file: ValueError"),
        ("Session.summary = lambda self: 1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(5)", "ended with code 5 and no result"),
    ],
)
def test_an_exception_in_the_runtime_is_one_line(code: str, message: str, runtime: Stand) -> None:
    runtime(code)
    assert message in failure()


def test_an_unknown_runtime() -> None:
    assert "ModuleNotFoundError" in failure(kind="no_such_runtime")


def test_the_runtime_is_not_installed(child: Stand) -> None:
    child("""
        import runpy
        sys.modules["ai_edge_litert"] = None
        sys.argv = ["child", sys.argv[-1]]
        runpy.run_module("converters.runtimes.child", run_name="__main__")
    """)
    with pytest.raises(MissingExtraError) as caught:
        run_file("tflite", FILE, CASES)
    assert str(caught.value) == (
        "ai-edge-litert is not installed; install it with: pip install 'mobilevit-kit[verify]'"
    )
    assert caught.value.exit_code == 2


# what lies about --------------------------------------------------------------------------------


@pytest.mark.slow
def test_modules_in_the_current_folder_are_not_imported(
    converted: Callable[[str], Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = converted("classifier")
    for name in (
        "numpy.py",
        "json.py",
        "ai_edge_litert.py",
        "resource.py",
        "converters/__init__.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)
    run = run_file("tflite", artifact.path, [artifact.golden()[0].inputs])
    assert run.results[0]["output"].shape == (1, 7)


@pytest.mark.slow
def test_a_relative_path_and_odd_names(
    converted: Callable[[str], Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = converted("classifier")
    odd = tmp_path / "a 'b' \"c\" $d" / "ü\N{SNOWMAN}\n.tflite"
    odd.parent.mkdir()
    odd.write_bytes(artifact.path.read_bytes())
    monkeypatch.chdir(odd.parent)
    run = run_file("tflite", Path(odd.name), [artifact.golden()[0].inputs])
    assert run.results[0]["output"].shape == (1, 7)
