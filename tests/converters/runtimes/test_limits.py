"""Time and memory that a child process may take, and that nothing of it stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from converters.runtimes import base
from converters.runtimes.base import memory_limit, run_file
from tests.converters.runtimes.standins import (
    ANSWER,
    AS_RUNTIME,
    CASES,
    FILE,
    PYTHON,
    SAVE,
    Stand,
    alive,
    failure,
    gone,
    instead_of_python,
    say,
)


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
    child(SAVE + stay + say(ANSWER))
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
    python = instead_of_python(AS_RUNTIME.format(code=hang), tmp_path)
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
