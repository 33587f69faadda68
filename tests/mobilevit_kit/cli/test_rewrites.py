"""`mvkit rewrites`."""

from __future__ import annotations

import json
import subprocess
import sys

from converters.rewrite import REWRITES


def mvkit(*arguments: str) -> str:
    command = [sys.executable, "-c", "from mobilevit_kit.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_each_rewrite_is_listed_with_what_it_does() -> None:
    lines = mvkit("rewrites").splitlines()
    assert len(lines) == 2 + len(REWRITES)
    for line, (name, about) in zip(lines[2:], REWRITES.items(), strict=True):
        assert line.startswith(f"{name} ") and about.summary in line and about.gain in line


def test_json() -> None:
    document = json.loads(mvkit("rewrites", "--json"))
    assert [one["name"] for one in document] == list(REWRITES)
    assert all(set(one["targets"]) <= {"tflite", "coreml", "executorch"} for one in document)
    assert mvkit("rewrites", "--quiet") == ""
