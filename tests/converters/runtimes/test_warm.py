"""Children forked from a process that has the imports: the same contract, and nothing left behind.

The server is real; torch, which takes it seconds, is kept from it, and the runtime is a stand-in.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from converters.errors import RuntimeFailure
from converters.runtimes import base, warm
from converters.runtimes.base import FileRun, run_file
from tests.converters.runtimes.standins import CASES, FILE, PYTHON, gone

_HEAD = """
import os, runpy, signal, sys, time, types
import numpy as np
from pathlib import Path
from converters.manifest import GraphSummary
from converters.runtimes.base import Port

class Session:
    runtime = "stand-in"
    inputs = outputs = ()
    def run(self, inputs):
        return {"parent": np.array(os.getppid()), "y": inputs["x"] * 2}
    def summary(self):
        return GraphSummary({})

def open_session(request):
    return Session()
"""

_TAIL = """
standin = types.ModuleType("standin")
standin.open_session = open_session
sys.modules["converters.runtimes.standin"] = standin
sys.modules["torch"] = None
module = sys.argv[sys.argv.index("-m") + 1]
sys.argv = ["standin", sys.argv[-1]]
runpy.run_module(module, run_name="__main__")
"""


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """`runtime(code)`: the kind "standin", for the server's children and for all others."""

    def replace(code: str) -> None:
        script, starter = tmp_path / "child.py", tmp_path / "python"
        script.write_text(_HEAD + textwrap.dedent(code) + _TAIL, encoding="utf-8")
        starter.write_text(f'#!/bin/sh\nexec "{PYTHON}" "{script}" "$@"\n', encoding="utf-8")
        starter.chmod(0o755)
        monkeypatch.setattr(base.sys, "executable", str(starter))
        warm.warm_children()

    monkeypatch.setattr(warm, "_server", None)
    yield replace
    if warm._server is not None:
        warm._server.close()


def run(**options: Any) -> FileRun:
    return run_file("standin", FILE, CASES, warm=True, **options)


def server_pid() -> int:
    assert warm._server is not None
    return warm._server._process.pid


def parent(of: FileRun) -> int:
    return int(of.results[0]["parent"])


def test_one_process_forks_all_children(runtime: Callable[[str], None]) -> None:
    runtime("")
    first, second = run(timed_runs=2), run()
    assert [list(one["y"]) for one in first.results] == [[0, 2, 4], [2, 2, 2]]
    assert first.latency is not None and first.latency.runs == 2
    assert parent(first) == parent(second) == server_pid()
    warm.warm_children()
    assert parent(run()) == server_pid() == parent(first)


def test_only_who_asks_for_it_gets_a_warm_child(runtime: Callable[[str], None]) -> None:
    runtime("")
    assert parent(run_file("standin", FILE, CASES)) == os.getpid()


def test_a_crash_is_that_of_one_file(runtime: Callable[[str], None], tmp_path: Path) -> None:
    runtime(f"""
        import ctypes
        def open_session(request):
            if not Path({str(tmp_path / "well")!r}).exists():
                ctypes.string_at(0)
            return Session()
    """)
    with pytest.raises(RuntimeFailure, match=r"net.tflite: the runtime crashed \(SIGSEGV\)"):
        run()
    (tmp_path / "well").touch()
    assert parent(run()) == server_pid()


def test_what_a_runtime_raises_is_told(runtime: Callable[[str], None]) -> None:
    runtime("def open_session(request): raise ValueError('two\\nlines')")
    with pytest.raises(RuntimeFailure, match="refuses this file: ValueError: two lines"):
        run()


def test_the_child_has_the_limits_of_any_other(runtime: Callable[[str], None]) -> None:
    runtime("""
        import resource
        def limits(self, inputs):
            own = os.sysconf("SC_PAGE_SIZE") * int(Path("/proc/self/statm").read_text().split()[0])
            return {
                "oom": np.array(int(Path("/proc/self/oom_score_adj").read_text())),
                "alarm": np.array(signal.getitimer(signal.ITIMER_REAL)[0]),
                "room": np.array(resource.getrlimit(resource.RLIMIT_AS)[0] - own),
                "leads": np.array(os.getpgid(0) == os.getsid(0) == os.getpid()),
            }
        Session.run = limits
    """)
    found = run(time_limit_s=70).results[0]
    assert found["oom"] == 1000 and 60 < found["alarm"] < 80 and found["leads"]
    assert 0 < found["room"] <= base.memory_limit()


def test_what_hangs_is_stopped_with_all_that_it_started(
    runtime: Callable[[str], None], tmp_path: Path
) -> None:
    pids, well = tmp_path / "pids", tmp_path / "well"
    runtime(f"""
        import subprocess
        def open_session(request):
            if not Path({str(well)!r}).exists():
                sleeper = subprocess.Popen(["sleep", "600"])
                Path({str(pids)!r}).write_text(f"{{os.getpid()}} {{sleeper.pid}}")
                time.sleep(600)
            return Session()
    """)
    with pytest.raises(RuntimeFailure, match="did not finish within 5 s and was stopped"):
        run(time_limit_s=5)
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2 and all(map(gone, started))
    well.touch()
    assert parent(run()) == os.getpid()  # until the next conversion starts a server
    warm.warm_children()
    assert parent(run()) == server_pid()


def test_what_a_child_leaves_behind_is_gone(runtime: Callable[[str], None], tmp_path: Path) -> None:
    runtime(f"""
        import subprocess
        def open_session(request):
            sleeper = subprocess.Popen(["sleep", "600"])
            Path({str(tmp_path / "pid")!r}).write_text(str(sleeper.pid))
            return Session()
    """)
    assert parent(run()) == server_pid()
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_server_that_is_gone_says_nothing_of_the_file(runtime: Callable[[str], None]) -> None:
    runtime("")
    os.kill(server_pid(), signal.SIGKILL)
    assert parent(run()) == os.getpid()


def test_a_server_that_goes_takes_its_child_along(
    runtime: Callable[[str], None], tmp_path: Path
) -> None:
    """And the file is run in another."""
    pid = tmp_path / "pid"
    runtime(f"""
        def open_session(request):
            if not Path({str(pid)!r}).exists():
                Path({str(pid)!r}).write_text(str(os.getpid()))
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(600)
            return Session()
    """)
    assert parent(run()) == os.getpid()
    assert gone(int(pid.read_text()))


def test_a_child_does_not_outlive_the_server(runtime: Callable[[str], None]) -> None:
    """Not even one that nobody knows of yet: Ctrl-C may come before its number is read."""
    runtime("def open_session(request): time.sleep(600)")
    server = warm._server
    assert server is not None
    request = {"kind": "standin", "session": {"file": "x", "threads": 1}, "returned": "/tmp/x"}
    limits = {"time_limit_s": 60, "memory_limit": base.memory_limit()}
    with Path(os.devnull).open("wb") as null:
        socket.send_fds(server._socket, [b" "], [null.fileno(), null.fileno()])
        server._socket.sendall(json.dumps(request | limits).encode() + b"\n")
        pid = server._number()
    time.sleep(0.5)
    os.kill(server_pid(), signal.SIGKILL)
    assert gone(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_command(
    runtime: Callable[[str], None], tmp_path: Path, number: signal.Signals
) -> None:
    """After Ctrl-C in the midst of a file not the child either."""
    runtime(f"""
        def open_session(request):
            Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
            while {number == signal.SIGINT}:
                time.sleep(1)
            return Session()
    """)
    code = f"""
        import signal, sys, time
        from pathlib import Path
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from converters.runtimes import warm
        from converters.runtimes.base import run_file
        sys.executable = {sys.executable!r}
        warm.warm_children()
        Path({str(tmp_path / "server")!r}).write_text(str(warm._server._process.pid))
        run_file("standin", Path("net"), [], warm=True)
        print("ran", flush=True)
        time.sleep(600)
    """
    command = [PYTHON, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        if number == signal.SIGKILL:
            assert process.stdout is not None and process.stdout.readline() == b"ran\n"
        else:
            while not ((pid := tmp_path / "pid").exists() and pid.read_text()):
                time.sleep(0.05)
        process.send_signal(number)
        process.wait(30)
    assert gone(int((tmp_path / "pid").read_text()))
    assert gone(int((tmp_path / "server").read_text()))


@pytest.mark.slow  # imports torch
def test_the_evaluator_is_loaded_before_the_fork() -> None:
    """What the server is for: a child finds torch and the runtimes' modules there."""
    code = """
        import socket, sys
        from converters.runtimes import server
        ours, theirs = socket.socketpair()
        ours.close()
        server.main(theirs)
        assert {"torch", "converters.runtimes.mil.evaluator"} <= set(sys.modules)
        vendors = {"ai_edge_litert", "executorch", "coremltools", "tensorflow"}
        assert not vendors & set(sys.modules), vendors & set(sys.modules)
    """
    subprocess.run([PYTHON, "-c", textwrap.dedent(code)], check=True, timeout=300)
