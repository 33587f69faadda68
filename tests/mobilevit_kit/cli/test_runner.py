"""`mvkit runner`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from android_harness.bundles import Bundle
from tests.mobilevit_kit.commands import Call


def test_a_runner_that_is_there_is_shown_and_not_built_again(
    mvkit: Call, bundled: Callable[..., Bundle]
) -> None:
    bundle = bundled("tflite")
    shown = mvkit("runner", "build", "--target", "tflite", "--json")
    assert (shown.code, shown.err) == (0, "")
    (document,) = shown.json
    assert document == {
        "target": "tflite",
        "abi": "host",
        "runtime": bundle.runtime,
        "compiler": bundle.compiler,
        "built": bundle.built,
        "current": True,
        "bytes": bundle.size,
        "path": str(bundle.path),
    }
    assert document in mvkit("runner", "list", "--json").json


def test_bundles_are_listed_in_a_table(
    mvkit: Call,
    bundled: Callable[..., Bundle],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    bundle = bundled("tflite")
    copy = shutil.copytree(bundle.path.parent, tmp_path / "runners/copy")
    monkeypatch.setenv("MVKIT_CACHE", str(tmp_path))
    (row,) = mvkit("runner", "list").out.splitlines()[2:]
    assert row.startswith("tflite") and bundle.runtime in row and not row.rstrip().endswith(" old")
    record = copy / "bundle.json"
    record.write_text(record.read_text().replace(bundle.sources, "0" * 64))
    (row,) = mvkit("runner", "list").out.splitlines()[2:]
    assert row.rstrip().endswith(" old")
    assert mvkit("runner", "list", "--quiet").out == ""


def test_an_empty_cache_says_what_to_do(
    mvkit: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MVKIT_CACHE", str(tmp_path))
    shown = mvkit("runner", "list")
    assert shown.out == f"no runners in {tmp_path}/runners; build them with: mvkit runner build\n"
    assert mvkit("runner", "list", "--json").json == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--abi", "mips"], "'mips' is not one of"),
        (["--abi", "arm64-v8a"], "--abi arm64-v8a needs --target"),
        (["--ndk", "."], "--ndk is only used with --abi arm64-v8a"),
        (["--target", "tflite", "--runtime", "."], "--runtime is for --abi arm64-v8a"),
        (["--ndk", "nowhere"], "'nowhere' does not exist"),
    ],
)
def test_a_mistake_is_one_line(mvkit: Call, arguments: list[str], why: str) -> None:
    refused = mvkit("runner", "build", *arguments)
    assert refused.code == 2
    assert why in refused.line


def test_help_says_what_was_never_built(mvkit: Call) -> None:
    assert "never been built" in " ".join(mvkit("runner", "build", "--help").out.split())
