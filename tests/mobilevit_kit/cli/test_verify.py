"""`mvkit verify`: from the artifact alone, against the source, and what is no artifact."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mobilevit_kit import source
from mobilevit_kit.source import build_source
from tests.mobilevit_kit.commands import NET, NET_INPUT, Call, contents, own


def test_the_artifact_is_enough(
    mvkit_process: Call, user_artifact: Path, reference_artifact: Path, tmp_path: Path
) -> None:
    """Without torch, without the converter, and without the network's own file."""
    files = (user_artifact, reference_artifact)
    result = mvkit_process(
        "verify", *files, "--json", cwd=tmp_path, absent=("torch", "litert_torch", "safetensors")
    )
    assert (result.code, result.err) == (0, "")
    for file, one in zip(files, result.json, strict=True):
        assert one["file"] == str(file) and one["compared_with"] == "its golden tensors"
        assert one["verdict"] == "pass" and one["runtime"].startswith("ai-edge-litert ")
        assert len(one["cases"]) == 6
        for case in one["cases"]:
            (output,) = case["outputs"]
            assert output["relative_error"] <= 1e-5 and output["top1"] == 1.0
    assert result.json[1]["weights"].startswith("seeded random weights (seed 0)")


def test_the_table(mvkit: Call, user_artifact: Path) -> None:
    result = mvkit("verify", user_artifact)
    assert (result.code, result.err) == (0, "")
    header, _, row, *lines = result.out.splitlines()
    columns = ["file", "verdict", "relative error", "SNR", "cosine", "compared with"]
    assert re.split(r"\s{2,}", header.strip()) == columns
    cells = re.split(r"\s{2,}", row.strip())
    assert cells[0] == str(user_artifact) and cells[1] == "pass"
    assert float(cells[2]) <= 1e-5 and cells[3].endswith(" dB") and float(cells[4]) > 0.9999
    assert cells[5] == "its golden tensors"
    assert lines[0].startswith("net-make-fp32: relative error at most ")
    assert lines[1] == "  weights  the weights that the module came with"
    result = mvkit("verify", user_artifact, "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_without_the_runtime(mvkit_process: Call, user_artifact: Path, tmp_path: Path) -> None:
    result = mvkit_process("verify", user_artifact, cwd=tmp_path, absent=("ai_edge_litert",))
    assert (result.code, result.out) == (2, "")
    assert result.line == (
        "ai-edge-litert is not installed; install it with: pip install 'mobilevit-kit[verify]'"
    )


def test_against_a_reference_model(mvkit: Call, reference_artifact: Path) -> None:
    result = mvkit("verify", reference_artifact, "--against-source", "--json")
    assert (result.code, result.err) == (0, "")
    (one,) = result.json
    assert one["verdict"] == "pass" and one["compared_with"] == "its PyTorch source"


def test_against_a_users_file_that_changes(mvkit: Call, user_copy: Path) -> None:
    result = mvkit("verify", user_copy, "--against-source")
    assert (result.code, result.err) == (0, "")
    assert "its PyTorch source" in result.out
    source._user_module.cache_clear()
    Path("net.py").write_text(NET.replace("torch.relu", "torch.sigmoid"))
    result = mvkit("verify", user_copy, "--against-source")
    assert (result.code, result.err) == (1, "")
    assert " fail " in result.out and "over 1e-05" in result.out
    assert mvkit("verify", user_copy).code == 0  # the file itself is what it was


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda: Path("net.py").unlink(), "net.py: no such file"),
        (lambda: Path("net.py").write_text("make = 1"), "net.py:make is a int, not a network"),
        (lambda: Path("net.py").write_text("make ="), "/net.py, line 1: invalid syntax"),
    ],
)
def test_a_source_that_is_gone(
    mvkit: Call, user_copy: Path, change: Callable[[], object], line: str
) -> None:
    change()
    result = mvkit("verify", user_copy, "--against-source")
    assert (result.code, result.out) == (2, "")
    assert line in result.line


def test_against_source_without_torch(mvkit_process: Call, user_copy: Path) -> None:
    result = mvkit_process(
        "verify", user_copy, "--against-source", cwd=Path.cwd(), absent=("torch",)
    )
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith("torch is not installed; install it with: pip install 'mobile")


def test_altered_weights_are_refused(mvkit: Call, workplace: Path, quick_conversion: None) -> None:
    weights = build_source(own(weights="loud")).module.state_dict()
    torch.save(weights, "w.pt")
    assert mvkit(
        "convert", "net.py:make", "--target", "tflite", *NET_INPUT, "--weights", "w.pt",
        "--no-verify",
    ).code == 0  # fmt: skip
    file = "mvkit-out/net-make-fp32.tflite"
    weights["fc.bias"][0] += 1
    torch.save(weights, "w.pt")
    result = mvkit("verify", file, "--against-source")
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith("w.pt is not the weights file that net-make-fp32.tflite was made")
    Path("w.pt").unlink()
    result = mvkit("verify", file, "--against-source")
    assert result.code == 2 and result.line.startswith("the weights file w.pt does not exist")


def test_weights_without_a_source_to_put_them_into(mvkit: Call, user_copy: Path) -> None:
    result = mvkit("verify", user_copy, "--weights", "w.pt")
    assert result.code == 2 and (
        result.line == "--weights is only used with --against-source and --bisect"
    )
    result = mvkit("verify", user_copy, "--against-source", "--weights", "w.pt")
    assert result.code == 2 and result.line.endswith("came with, from no file")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [Path.unlink, truncate, alter, empty, become_a_folder])
@pytest.mark.parametrize("part", ["tflite", "tflite.json", "tflite.golden.npz"])
def test_each_damaged_part_is_one_line(
    mvkit: Call, user_copy: Path, part: str, damage: Callable[[Path], None]
) -> None:
    damaged = user_copy.with_name(f"net-make-fp32.{part}")
    damage(damaged)
    before = contents(Path.cwd())
    for options in ((), ("--against-source",)):
        result = mvkit("verify", user_copy, *options)
        assert (result.code, result.out) == (2, "")
        assert damaged.name in result.line
    assert contents(Path.cwd()) == before


def test_a_manifest_from_the_future(mvkit: Call, user_copy: Path) -> None:
    manifest = user_copy.with_name("net-make-fp32.tflite.json")
    document = json.loads(manifest.read_text())
    major = int(document["schema_version"].split(".")[0])
    document["schema_version"] = f"{major + 1}.0"
    manifest.write_text(json.dumps(document))
    result = mvkit("verify", user_copy)
    assert (result.code, result.out) == (2, "")
    assert f"schema version {major + 1}.0 is newer" in result.line
    assert result.line.endswith("update mobilevit-kit")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("nothing.tflite", "nothing.tflite: no such file"),
        ("net.py", "net.py.json"),
        ("mvkit-out", "mvkit-out"),
        ("mvkit-out/net-make-fp32.tflite.json", "this is the proof beside a converted file"),
        ("mvkit-out/net-make-fp32.tflite.golden.npz", "this is the proof beside a converted file"),
        ("mobilevit_xs", "mobilevit_xs: no such file"),
    ],
)
def test_what_is_no_artifact(mvkit: Call, user_copy: Path, file: str, message: str) -> None:
    result = mvkit("verify", file)
    assert (result.code, result.out) == (2, "")
    assert message in result.line


def test_a_renamed_file_is_not_its_manifests(mvkit: Call, user_copy: Path) -> None:
    for path in list(user_copy.parent.glob("net-make-fp32.*")):
        path.rename(path.with_name(path.name.replace("net-make", "other")))
    result = mvkit("verify", "mvkit-out/other-fp32.tflite")
    assert result.code == 2 and "describes net-make-fp32.tflite, not other" in result.line


def test_one_damaged_file_does_not_stop_the_others(
    mvkit: Call, user_copy: Path, user_artifact: Path
) -> None:
    truncate(user_copy)
    result = mvkit("verify", user_copy, user_artifact)
    assert result.code == 2 and "truncated" in result.line
    rows = [re.split(r"\s{2,}", line.strip()) for line in result.out.splitlines()[2:4]]
    assert [row[:2] for row in rows] == [[str(user_copy), "error"], [str(user_artifact), "pass"]]
    result = mvkit("verify", user_copy, user_artifact, "--json")
    assert result.code == 2 and [one["verdict"] for one in result.json] == [None, "pass"]
    assert result.json[0]["error"] == result.line
    result = mvkit("verify", user_copy, user_artifact, "--quiet")
    assert (result.code, result.out) == (2, "") and "truncated" in result.line
    assert "Traceback" in mvkit("verify", user_copy, user_artifact, "--debug").err


def test_no_room_for_temporary_files_is_one_line(
    mvkit_process: Call, user_artifact: Path, tmp_path: Path
) -> None:
    result = mvkit_process("verify", user_artifact, cwd=tmp_path, file_limit=1000)
    assert (result.code, result.out) == (2, "")
    assert "File too large" in result.line
    result = mvkit_process("verify", user_artifact, cwd=tmp_path, file_limit=0)
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith("No usable temporary directory found")


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_on_a_terminal(user_artifact: Path, tmp_path: Path, quiet: bool) -> None:
    """On standard error, drawn anew and cleared at the end; standard output stays a table."""
    ours, theirs = pty.openpty()
    command = [Path(sys.executable).with_name("mvkit"), "verify", user_artifact]
    process = subprocess.Popen(
        [*command, "--quiet"] if quiet else command,
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm-256color"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    drawn = b""
    try:
        while chunk := os.read(ours, 65536):
            drawn += chunk
    except OSError:  # Linux's answer once the other end is closed
        pass
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    if quiet:
        assert (out, drawn) == ("", b"")
        return
    assert "\x1b" not in out and out.startswith("file ")
    assert f"{user_artifact.name}: running the file" in drawn.decode()
    assert drawn.decode().endswith("\x1b[2K")  # the last line is cleared
