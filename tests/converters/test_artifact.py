"""The artifact on disk: written whole or not at all, and read only while it is whole."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import artifact as module
from converters.artifact import (
    Arrays,
    GoldenCase,
    find_unchanged,
    load_artifact,
    manifest_path,
    publish,
    read_golden,
    staging,
    write_golden,
)
from converters.errors import ArtifactError, UsageError
from converters.manifest import ParityRecord
from tests.converters.handmade import (
    FILE,
    GOLDEN,
    assert_one_line,
    make_cases,
    make_manifest,
    resign,
    write_artifact,
)

Damage = Callable[[Path], object]


def refused(file: Path, *mentioned: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        load_artifact(file).golden()
    assert_one_line(caught.value, *mentioned)
    assert caught.value.exit_code == 2


def same(read: Arrays, written: Arrays) -> bool:
    return read.keys() == written.keys() and all(
        np.array_equal(read[name], array) and read[name].dtype == array.dtype
        for name, array in written.items()
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    artifact = load_artifact(write_artifact(tmp_path))
    assert artifact.manifest.name == "net-fp32" and artifact.parity.verdict == "pass"
    for read, written in zip(artifact.golden(), make_cases(), strict=True):
        assert (read.name, read.kind) == (written.name, written.kind)
        assert same(read.inputs, written.inputs) and same(read.outputs, written.outputs)


@pytest.mark.parametrize(
    "name", ["a/b", "100%", "%2F", "../x", "Füße \N{SNOWMAN}", "", "in", "x.npy"]
)
def test_any_name_and_any_tensor_survives_the_golden_file(name: str, tmp_path: Path) -> None:
    inputs: dict[str, Any] = {
        "serving/image:0": np.zeros((1, 0, 3), np.float16),
        "out": np.array(3, np.int64),
        "b.npy": np.array([True, False]),
        "": np.array([1 + 2j], np.complex64),
    }
    case = GoldenCase(name, "example", inputs, {"y": np.arange(3)[::-1]})
    write_golden(tmp_path / "x.npz", [case])
    (read,) = read_golden(tmp_path / "x.npz")
    assert (read.name, read.kind) == (name, "example")
    assert same(read.inputs, case.inputs) and same(read.outputs, case.outputs)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


_DAMAGES: dict[Damage, str] = {
    truncate: "was truncated",
    extend: "was altered",
    flip: "was altered",
    empty: "was truncated",
    Path.unlink: "missing",
    replace_by_folder: "",
}


@pytest.mark.parametrize("damage", _DAMAGES)
@pytest.mark.parametrize("part", [FILE, GOLDEN])
def test_a_damaged_file_is_refused_by_name(part: str, damage: Damage, tmp_path: Path) -> None:
    file = write_artifact(tmp_path)
    damage(tmp_path / part)
    message = "no such file" if (part, damage) == (FILE, Path.unlink) else _DAMAGES[damage]
    refused(file, f"{tmp_path / part}: ", message)


@pytest.mark.parametrize("damage", [one for one in _DAMAGES if one is not extend])
def test_a_damaged_manifest_is_refused_by_name(damage: Damage, tmp_path: Path) -> None:
    file = write_artifact(tmp_path)
    truncations = {truncate: 2}  # the last character is a line break
    for _ in range(truncations.get(damage, 1)):
        damage(manifest_path(file))
    refused(file, manifest_path(file).name)


def test_a_manifest_that_is_no_text_or_far_too_long(tmp_path: Path) -> None:
    file = write_artifact(tmp_path)
    manifest_path(file).write_bytes(b"\xff\xfe{}")
    refused(file, "cannot be read")
    with manifest_path(file).open("wb") as stream:
        stream.truncate(10**12)  # a hole: nothing could hold it once it is read
    refused(file, "too large for a manifest")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (FILE + ".json", "name the file that it stands beside"),
        (GOLDEN, "name the file that it stands beside"),
        ("absent.tflite", "no such file"),
        ("", "is a folder"),
        ("sub", "is a folder"),
        ("..", "is a folder"),
        ("other.tflite", "its manifest other.tflite.json is missing"),
        ("renamed.tflite", "describes net-fp32.tflite, not renamed.tflite"),
        (f"{FILE}/within", "no such file"),
        ("x" * 5000, "File name too long"),
        ("a\x00b", "no such file"),
    ],
)
def test_a_wrong_name_is_told_what_it_is(name: str, message: str, tmp_path: Path) -> None:
    file = write_artifact(tmp_path)
    (tmp_path / "sub").mkdir()
    for other in ("other.tflite", "renamed.tflite"):
        (tmp_path / other).write_bytes(file.read_bytes())
    (tmp_path / "renamed.tflite.json").write_bytes(manifest_path(file).read_bytes())
    with pytest.raises(ArtifactError, match=message):
        load_artifact(tmp_path / name)


@pytest.mark.parametrize("name", ["/", ".", ".."])
def test_folders_without_a_name_of_their_own(name: str) -> None:
    with pytest.raises(ArtifactError, match="is a folder"):
        load_artifact(Path(name))


def npz(**entries: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{name.replace("__", "/"): a for name, a in entries.items()})
    return buffer.getvalue()


def zipped(content: bytes, name: str = "photo/a/in/x.npy", copies: int = 1) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(copies):
            archive.writestr(name.replace("/a/", f"/{i}/"), content)
    return buffer.getvalue()


def header(text: str) -> bytes:
    padded = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()


X = np.zeros(2, np.float32)
_BAD_ARCHIVES = {
    "text": b"no archive at all",
    "pickle": pickle.dumps({"a": 1}),
    "one array": header("{'descr': '<f4', 'fortran_order': False, 'shape': (), }") + bytes(4),
    "no case": npz(x=X),
    "unknown kind": npz(film__a__in__x=X),
    "no direction": npz(photo__a__side__x=X),
    "no tensor": npz(photo__a__in=X),
    "objects": npz(photo__a__in__x=np.array([{}], object)),
    "not an array": zipped(b"hello"),
    "empty entry": zipped(b""),
    "huge": zipped(header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,), }")),
    "negative": zipped(header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }")),
    "not its own header": zipped(
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2L,), }") + bytes(8)
    ),
    "code": zipped(header("__import__('os').abort()")),
    "too deep": zipped(header("(" * 100)),
}


@pytest.mark.parametrize("content", _BAD_ARCHIVES.values(), ids=_BAD_ARCHIVES)
def test_other_archives_are_no_golden_files(
    content: bytes, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"not a readable golden file: .") as caught:
        read_golden(tmp_path / "x.npz")
    assert_one_line(caught.value, "x.npz")
    assert not recwarn.list


def test_an_archive_that_unpacks_to_more_than_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LARGEST_GOLDEN", 10 * 2**20)
    array = npz(photo__a__in__x=np.zeros(3 * 2**20, np.uint8))
    content = zipfile.ZipFile(io.BytesIO(array)).read("photo/a/in/x.npy")
    (tmp_path / "x.npz").write_bytes(zipped(content, copies=3))
    assert len(read_golden(tmp_path / "x.npz")) == 3
    (tmp_path / "x.npz").write_bytes(zipped(content, copies=4))
    assert (tmp_path / "x.npz").stat().st_size < 2**17
    with pytest.raises(ArtifactError, match="unpacks to more than"):
        read_golden(tmp_path / "x.npz")


IMAGE, IDS = make_cases()[0].inputs.values()
LOGITS = make_cases()[0].outputs["logits"]


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"image": IMAGE, "ids": IDS}, {}),
        ({}, {"logits": LOGITS}),
        ({"image": IMAGE}, {"logits": LOGITS}),
        ({"image": IMAGE, "ids": IDS}, {"logits": LOGITS, "boxes": LOGITS}),
        ({"image": IMAGE, "ids": IDS}, {"Logits": LOGITS}),
        ({"image": IMAGE, "ids": IDS[:, :4]}, {"logits": LOGITS}),
        ({"image": IMAGE, "ids": IDS}, {"logits": LOGITS.astype(np.float64)}),
        ({"image": IMAGE, "ids": IDS}, {"logits": np.zeros((1, 2), "U3")}),
    ],
)
def test_golden_tensors_are_exactly_those_of_the_manifest(
    inputs: Any, outputs: Any, tmp_path: Path
) -> None:
    """An output that is not in the golden file would never be compared."""
    file = write_artifact(tmp_path)
    write_golden(tmp_path / GOLDEN, [*make_cases(), GoldenCase("odd", "photo", inputs, outputs)])
    resign(file)
    refused(file, str(tmp_path / GOLDEN), "case odd does not hold the tensors")


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, SystemExit])
def test_staging_leaves_nothing_when_the_block_stops(
    error: type[BaseException], tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("stays")
    with pytest.raises(error), staging(tmp_path) as stage:
        (stage / "deep").mkdir()
        (stage / "deep" / "file").write_text("half")
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_staging_makes_folders_and_shares_the_file_system(tmp_path: Path) -> None:
    with staging(tmp_path / "a" / "b") as stage:
        (stage / "file").write_text("whole")
        assert stage.parent == tmp_path / "a" / "b"  # so that renaming is one step
        publish(stage, tmp_path / "a" / "b", ["file"])
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is a disk that is always full")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No space left on device") as caught:  # noqa: SIM117
        with staging(tmp_path) as stage:
            (stage / "x.npz").symlink_to("/dev/full")
            write_golden(stage / "x.npz", make_cases())
    assert_one_line(caught.value, f"cannot write to {tmp_path}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/mvkit", "x" * 300])
def test_a_folder_that_cannot_be_made(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError) as caught, staging(tmp_path / place):
        pytest.fail("the block must not be entered")
    assert_one_line(caught.value, "cannot write to", place)


def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    nobody = 65534
    tmp_path.chmod(0o555)
    user = os.geteuid()
    if user == 0:  # who may write anywhere
        os.seteuid(nobody)
    try:
        with pytest.raises(UsageError, match="Permission denied"), staging(tmp_path):
            pytest.fail("the block must not be entered")
    finally:
        os.seteuid(user)


def test_a_new_folder_goes_again_if_nothing_was_put_into_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), staging(tmp_path / "new"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with staging(tmp_path / "new") as stage:
        (stage / "file").touch()
        (stage / "file").rename(tmp_path / "new" / "file")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


@pytest.mark.parametrize("step", range(4))
def test_an_interrupted_publication_is_old_or_new_or_noticed(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest comes last: until it is in place, no half of an artifact passes for a whole."""
    file = write_artifact(tmp_path, b"old")
    done: list[str] = []

    def replace(source: Path, target: Path, real: Any = Path.replace) -> None:
        if len(done) == step:
            raise KeyboardInterrupt
        done.append(target.name)
        real(source, target)

    names = [GOLDEN, FILE, FILE + ".json"]
    with staging(tmp_path) as stage:
        write_artifact(stage, b"new!", request="c" * 64)
        write_golden(stage / GOLDEN, make_cases()[::-1])
        resign(stage / FILE)
        monkeypatch.setattr(Path, "replace", replace)
        if step < 3:
            with pytest.raises(KeyboardInterrupt):
                publish(stage, tmp_path, names)
        else:
            publish(stage, tmp_path, names)
    assert done == names[:step]
    if step in (0, 3):
        assert load_artifact(file).golden()
        assert file.read_bytes() == (b"new!" if step else b"old")
    else:
        refused(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_the_unchanged_is_found(tmp_path: Path) -> None:
    request = make_manifest().request
    assert find_unchanged(tmp_path / FILE, request, verified=True) is None
    file = write_artifact(tmp_path)
    found = find_unchanged(file, request, verified=True)
    assert found is not None and found.path == file
    with pytest.raises(UsageError, match="--force"):
        find_unchanged(file, "d" * 64, verified=True)


@pytest.mark.parametrize("part", [FILE, GOLDEN, FILE + ".json"])
@pytest.mark.parametrize("damage", [truncate, Path.unlink])
def test_what_is_not_whole_is_not_unchanged(damage: Damage, part: str, tmp_path: Path) -> None:
    file = write_artifact(tmp_path)
    damage(tmp_path / part)
    if part.endswith(".json") and damage is truncate:
        damage(tmp_path / part)
    with pytest.raises(UsageError, match="is not whole") as caught:
        find_unchanged(file, make_manifest().request, verified=True)
    assert_one_line(caught.value, str(file), "--force")


def test_the_unverified_is_only_unchanged_where_no_verdict_is_wanted(tmp_path: Path) -> None:
    file = write_artifact(tmp_path, parity=ParityRecord("unverified", "not checked", 1e-5))
    request = json.loads(manifest_path(file).read_text())["request"]
    assert find_unchanged(file, request, verified=True) is None
    assert find_unchanged(file, request, verified=False) is not None
