"""Artifacts whose converted file is a folder, as CoreML's packages are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from converters.artifact import digest_of, publish, record_file, size_of, staging
from converters.errors import ArtifactError


def package(folder: Path, name: str = "net.mlpackage", weights: bytes = b"weights") -> Path:
    path = folder / name
    (path / "Data" / "weights").mkdir(parents=True)
    (path / "Manifest.json").write_text("{}")
    (path / "Data" / "model.mlmodel").write_bytes(b"program")
    (path / "Data" / "weights" / "weight.bin").write_bytes(weights)
    return path


def test_the_digest_is_over_names_and_bytes(tmp_path: Path) -> None:
    one = package(tmp_path / "a")
    same = package(tmp_path / "b", "other.mlpackage")
    assert digest_of(one) == digest_of(same)
    assert record_file(one, "net.mlpackage").bytes == size_of(one) == 2 + 7 + 7


def _rename(path: Path) -> None:
    (path / "Data" / "model.mlmodel").rename(path / "Data" / "model2.mlmodel")


def _swap(path: Path) -> None:
    weights, model = path / "Data" / "weights" / "weight.bin", path / "Data" / "model.mlmodel"
    first, second = weights.read_bytes(), model.read_bytes()
    weights.write_bytes(second)
    model.write_bytes(first)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "new").write_bytes(b""),
        lambda path: (path / "Manifest.json").unlink(),
        lambda path: (path / "Manifest.json").write_text("[]"),
        _rename,
        _swap,
    ],
)
def test_any_change_has_another_digest(change: Callable[[Path], object], tmp_path: Path) -> None:
    path = package(tmp_path)
    before = digest_of(path)
    change(path)
    assert digest_of(path) != before


@pytest.mark.parametrize(
    "make",
    [
        lambda path: (path / "link").symlink_to("/etc/hostname"),
        lambda path: (path / "link").symlink_to(path),
        lambda path: (path / "link").symlink_to("Manifest.json"),
        lambda path: os.mkfifo(path / "pipe"),
    ],
)
def test_only_plain_files_are_part_of_it(make: Callable[[Path], object], tmp_path: Path) -> None:
    path = package(tmp_path)
    make(path)
    with pytest.raises(ArtifactError, match=r"net.mlpackage: \w+ is not a plain file$"):
        digest_of(path)


def test_a_new_folder_takes_the_place_of_the_old(tmp_path: Path) -> None:
    destination = tmp_path / "out"
    for weights in (b"old", b"new and longer"):
        with staging(destination) as stage:
            package(stage, weights=weights)
            publish(stage, destination, ["net.mlpackage"])
        assert [path.name for path in destination.iterdir()] == ["net.mlpackage"]
        stored = destination / "net.mlpackage" / "Data" / "weights" / "weight.bin"
        assert stored.read_bytes() == weights
