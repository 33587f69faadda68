"""What is silenced stays silent, whichever way it is written; nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from converters.vendor_output import silenced

SHOUT = """
import logging, os, sys, warnings
from converters.vendor_output import silenced

def shout():
    print("SHOUT print")
    print("SHOUT stderr", file=sys.stderr)
    os.write(1, b"SHOUT descriptor 1\\n")
    os.write(2, b"SHOUT descriptor 2\\n")
    os.system("echo SHOUT child")
    logging.getLogger("vendor").critical("SHOUT log")
    warnings.warn("SHOUT warning")

"""


def run(code: str) -> tuple[str, str]:
    """Both outputs of a process of its own: here pytest stands between `print` and descriptor 1."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", SHOUT + textwrap.dedent(code)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout, done.stderr


def test_every_way_of_writing_is_swallowed() -> None:
    out, err = run("""
        print("before")
        with silenced():
            shout()
            with silenced():
                shout()
            shout()
        print("after")
        os.write(2, b"after\\n")
    """)
    assert (out, err) == ("before\nafter\n", "after\n")


def test_nothing_is_swallowed_when_it_is_not_active() -> None:
    out, err = run("with silenced(active=False): shout()")
    assert out.count("SHOUT") == 3 and err.count("SHOUT") == 4


@pytest.mark.parametrize("error", ["ValueError", "KeyboardInterrupt"])
def test_output_returns_after_an_exception(error: str) -> None:
    out, err = run(f"""
        try:
            with silenced():
                shout()
                raise {error}
        except {error}:
            print("after")
            logging.critical("after")
    """)
    assert (out, err) == ("after\n", "CRITICAL:root:after\n")


def test_the_last_lines_go_along_with_the_exception() -> None:
    with pytest.raises(ValueError, match="stop") as caught, silenced():
        os.write(2, b"long ago\n" + b"." * 5000)
        os.write(1, b"\xff the cause\n")
        raise ValueError("stop")
    (note,) = caught.value.__notes__
    assert note.startswith("last output:\n....")
    assert note.endswith("\N{REPLACEMENT CHARACTER} the cause\n")
    assert len(note) < 4100


@pytest.mark.skipif(sys.platform != "linux", reason="/proc lists the descriptors")
def test_no_descriptor_is_left_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with silenced():
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_c_still_holds_in_its_buffer() -> None:
    """C++ parts print through C, which keeps text back until long after the block."""
    out, err = run("""
        import ctypes
        c = ctypes.CDLL(None)
        c.printf(b"before\\n")
        with silenced():
            c.printf(b"SHOUT\\n")
        c.printf(b"after\\n")
    """)
    assert (out, err) == ("before\nafter\n", "")
