"""What the child process may do wrong, and what the command then says: real processes each time.

Two kinds of stand-in: a script in place of Python, which does whatever a broken child could, and
a runtime of our own inside the real child.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import Artifact
from converters.errors import MissingExtraError, RuntimeFailure, UsageError
from converters.runtimes import base
from converters.runtimes.base import FileRun, Port, memory_limit, run_file
from tests.converters.handmade import assert_one_line

FILE = Path("some/net.tflite")
CASES = [{"x": np.arange(3, dtype=np.float32)}, {"x": np.ones(3, np.float32)}]

PYTHON = sys.executable  # tests put something else in its place
Stand = Callable[[str], None]


def instead_of_python(code: str, folder: Path) -> str:
    """An executable that runs `code` in place of the child; the request is in `request`."""
    script = folder / "child.py"
    head = "import json, os, signal, sys, time\nrequest = json.loads(sys.argv[-1])\n"
    script.write_text(head + textwrap.dedent(code), encoding="utf-8")
    starter = folder / "python"
    starter.write_text(f'#!/bin/sh\nexec "{PYTHON}" "{script}" "$@"\n', encoding="utf-8")
    starter.chmod(0o755)
    return str(starter)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    def replace(code: str) -> None:
        monkeypatch.setattr(base.sys, "executable", instead_of_python(code, tmp_path))

    return replace


_AS_RUNTIME = """
import runpy, types
source = {code!r}
standin = types.ModuleType("standin")
exec(source, standin.__dict__)
sys.modules["converters.runtimes.standin"] = standin
sys.argv = ["child", sys.argv[-1]]
runpy.run_module("converters.runtimes.child", run_name="__main__")
"""

_DOUBLER = """
import numpy as np
from converters.manifest import GraphSummary
from converters.runtimes.base import Port

class Session:
    runtime = "doubler 1.0"
    inputs = outputs = [Port("x", (3,), "float32")]
    def run(self, inputs):
        return {"y": inputs["x"] * 2}
    def summary(self):
        return GraphSummary({"MUL": 1})

def open_session(request):
    return Session()
"""


@pytest.fixture
def runtime(child: Stand) -> Stand:
    """`runtime(code)`: the kind "standin", with `code` after the definition of a doubler."""

    def replace(code: str) -> None:
        child(_AS_RUNTIME.format(code=_DOUBLER + textwrap.dedent(code)))

    return replace


def failure(kind: str = "standin", **options: Any) -> str:
    with pytest.raises(RuntimeFailure) as caught:
        run_file(kind, FILE, CASES, **options)
    assert_one_line(caught.value, str(FILE))
    assert caught.value.exit_code == 1
    return str(caught.value).removeprefix(f"{FILE}: ")


def alive(pid: int) -> bool:
    """Whether a process still does something; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int, within_s: float = 3.0) -> bool:
    end = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


ANSWER = {
    "runtime": "r 1",
    "inputs": [{"name": "x", "shape": [3], "dtype": "float32"}],
    "outputs": [],
    "graph": {"operators": {"ADD": 1}, "delegate": None, "partitions": 0},
    "latency": None,
}


def say(answer: Any) -> str:
    return f"print(json.dumps({{'mvkit-child': json.loads({json.dumps(json.dumps(answer))})}}))\n"


_SAVE = """
import numpy as np
np.savez(request["returned"], **{"0/y": np.ones(3), "1/y": np.ones(3)})
"""


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
    child(_SAVE + say(ANSWER | change))
    assert "the runtime's answer cannot be read" in failure()


def test_the_stand_in_without_a_fault_is_read(child: Stand) -> None:
    """So that the two tests above fail for their own reasons."""
    child(_SAVE + say(ANSWER))
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


# limits -----------------------------------------------------------------------------------------


def test_what_hangs_is_stopped_with_all_that_it_started(child: Stand, tmp_path: Path) -> None:
    child(f"""
        import subprocess
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        grandchild = subprocess.Popen(["sleep", "600"])
        with open({str(tmp_path / "pids")!r}, "w") as file:
            print(os.getpid(), grandchild.pid, file=file)
        time.sleep(600)
    """)
    start = time.monotonic()
    assert failure(time_limit_s=1.5) == "the runtime did not finish within 1.5 s and was stopped"
    assert time.monotonic() - start < 10
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2 and all(map(gone, pids))


def test_a_grandchild_that_stays_behind_is_not_waited_for(child: Stand, tmp_path: Path) -> None:
    """It keeps standard output open, which a reader of a pipe would wait for."""
    stay = f"""
import subprocess
grandchild = subprocess.Popen(["sleep", "600"])
with open({str(tmp_path / "pid")!r}, "w") as file:
    print(grandchild.pid, file=file)
"""
    child(_SAVE + stay + say(ANSWER))
    start = time.monotonic()
    assert run_file("standin", FILE, CASES, time_limit_s=60).runtime == "r 1"
    assert time.monotonic() - start < 30
    assert gone(int((tmp_path / "pid").read_text()))


def test_interrupting_the_command_ends_the_child(child: Stand, tmp_path: Path) -> None:
    """Ctrl-C reaches only the command: the child has a group of its own."""
    pid = tmp_path / "pid"
    child(f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    command = (
        "import sys\nfrom pathlib import Path\nfrom converters.runtimes.base import run_file\n"
        f"sys.executable = {base.sys.executable!r}\n"
        "run_file('standin', Path('x'), [])"
    )
    parent = subprocess.Popen([PYTHON, "-c", command], stderr=subprocess.PIPE, text=True)
    while not pid.exists() or not pid.read_text():
        assert parent.poll() is None
        time.sleep(0.02)
    assert alive(int(pid.read_text()))
    parent.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in parent.communicate(timeout=120)[1]
    assert gone(int(pid.read_text()))


def test_a_child_without_a_parent_ends_by_itself(tmp_path: Path) -> None:
    """Should the command be killed, nobody is left to stop a file that hangs."""
    hang = "import time\ndef open_session(request): time.sleep(600)"
    python = instead_of_python(_AS_RUNTIME.format(code=hang), tmp_path)
    request = {
        "kind": "standin", "session": {"file": "x", "threads": 1}, "given": "x",
        "returned": "x", "cases": 0,
        "timed_runs": 0, "memory_limit": 2**40, "time_limit_s": -4.5,
    }  # fmt: skip
    done = subprocess.run([python, json.dumps(request)], timeout=30, check=False)
    assert done.returncode == -signal.SIGALRM


def test_memory_is_refused_before_the_machine_has_none(
    runtime: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "memory_limit", lambda: 256 * 2**20)
    runtime("def open_session(request): np.ones(2**27)")  # 1 GiB
    assert "MemoryError: Unable to allocate 1.00 GiB" in failure()
    runtime("Session.run = lambda self, inputs: {'y': np.ones(2**22)[:3]}")  # 32 MiB
    assert run_file("standin", FILE, CASES).results[0]["y"].shape == (3,)


def test_the_machine_kills_the_child_before_the_command(runtime: Stand) -> None:
    runtime("""
        def score(self, inputs):
            return {"y": np.array(int(open("/proc/self/oom_score_adj").read()))}
        Session.run = score
    """)
    assert int(run_file("standin", FILE, CASES).results[0]["y"]) == 1000


def test_the_memory_limit_leaves_room_on_this_machine() -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 2**29 < memory_limit() <= total // 2


def test_a_limit_that_the_user_has_set_is_kept(runtime: Stand) -> None:
    """Where it is lower than ours."""
    runtime("""
        import resource
        limits = lambda self, inputs: {"y": np.array(resource.getrlimit(resource.RLIMIT_AS))}
        Session.run = limits
    """)
    code = f"""
        import resource, sys
        from pathlib import Path
        from converters.runtimes import base
        sys.executable = {sys.executable!r}
        base.memory_limit = lambda: 2**40
        resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**46))
        print(base.run_file("standin", Path("x"), [{{}}]).results)
    """
    done = subprocess.run(
        [PYTHON, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert f"{2**33}, {2**46}]" in done.stdout


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
