"""Packages on disk: what is read, what is refused, and what is not imported for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.errors import ArtifactError, MissingExtraError
from converters.runtimes.mil import package as package_module
from converters.runtimes.mil.package import open_package
from converters.runtimes.mil.program import read_program
from tests.converters.handmade import assert_one_line
from tests.converters.runtimes.mil.programs import ct, normal

MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")


def read_weight(path: Path) -> Any:
    program = read_program(open_package(path))
    (value,) = (
        operation.attributes["val"]
        for operation in program.functions["main"].block.operations
        if operation.name == "product_weight_0"
    )
    return value.read()


def test_a_package(small_package: Path) -> None:
    package = open_package(small_package)
    assert package.model.WhichOneof("Type") == "mlProgram"
    np.testing.assert_array_equal(read_weight(small_package), normal(4, 64))


def test_a_link_to_a_package_is_the_user_s_affair(small_package: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.mlpackage"
    link.symlink_to(small_package)
    np.testing.assert_array_equal(read_weight(link), normal(4, 64))


def test_neither_torch_nor_coremltools_is_imported(small_package: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import converters.runtimes.mil
from converters.runtimes.mil.program import read_program
from converters.runtimes.mil.package import open_package
program = read_program(open_package(Path({str(small_package)!r})))
assert program.operators("main")["linear"] == 1
assert not {{"torch", "coremltools"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow  # imports all of it
def test_the_real_coremltools_still_works_beside_it(small_package: Path) -> None:
    code = f"""
from pathlib import Path
from converters.runtimes.mil.package import open_package
ours = open_package(Path({str(small_package)!r})).model
import coremltools
theirs = coremltools.models.MLModel({str(small_package)!r}, skip_model_load=True).get_spec()
assert ours == theirs and len(theirs.mlProgram.functions) == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_without_coremltools(small_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, package_module._PROTO, raising=False)
    monkeypatch.setattr(package_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"mobilevit-kit\[coreml\]"):
        open_package(small_package)


def manifest(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = path / "Manifest.json"
        document = json.loads(file.read_text())
        for item in document["itemInfoEntries"].values():
            if "item" in changes and item["path"].endswith(".mlmodel"):
                item["path"] = changes["item"]
        document |= {key: value for key, value in changes.items() if key != "item"}
        file.write_text(json.dumps(document))

    return change


def replaced(relative: Path | str, content: bytes) -> Callable[[Path], None]:
    return lambda path: (path / relative).write_bytes(content) and None


def removed(relative: Path | str) -> Callable[[Path], None]:
    return lambda path: (path / relative).unlink()


def linked(relative: Path | str) -> Callable[[Path], None]:
    """The file moves out of the package, and a link to it takes its place."""

    def change(path: Path) -> None:
        outside = path.parent / "outside"
        (path / relative).rename(outside)
        (path / relative).symlink_to(outside)

    return change


def pipe(relative: Path | str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        (path / relative).unlink()
        os.mkfifo(path / relative)

    return change


def resized(relative: Path | str, size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path / relative, size)


REFUSALS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no manifest": (removed("Manifest.json"), "Manifest.json is missing"),
    "manifest is no JSON": (replaced("Manifest.json", b"{"), "is not the manifest"),
    "manifest is no text": (replaced("Manifest.json", b"\xff\xfe\xfd"), "is not the manifest"),
    "manifest is a list": (replaced("Manifest.json", b"[]"), "is not the manifest"),
    "manifest nests": (replaced("Manifest.json", b"[" * 10**5), "is not the manifest"),
    "manifest is huge": (resized("Manifest.json", 2**30), "more than the 1048576"),
    "manifest is a pipe": (pipe("Manifest.json"), "is not a regular file"),
    "manifest is a link": (linked("Manifest.json"), "is a symbolic link"),
    "items are a list": (manifest(itemInfoEntries=[1]), "is not the manifest"),
    "items have no path": (manifest(itemInfoEntries={"a": {}}), "is not the manifest"),
    "path is a number": (manifest(item=7), "is not the manifest"),
    "another format": (manifest(fileFormatVersion="2.0.0"), "format version other than 1"),
    "no format": (manifest(fileFormatVersion=None), "format version other than 1"),
    "root is another": (manifest(rootModelIdentifier="x"), "does not say which item"),
    "root is a list": (manifest(rootModelIdentifier=[]), "does not say which item"),
    "path goes up": (manifest(item="../../model.mlmodel"), "outside itself"),
    "path is absolute": (manifest(item="/etc/passwd"), "outside itself"),
    "path is empty": (manifest(item=""), "is a folder|is not a regular file"),
    "path has a zero": (manifest(item="a\0b"), "outside itself"),
    "path is endless": (manifest(item="a" * 10**5), "is missing"),
    "path moves the cursor": (manifest(item="\x1b[2J"), "is missing"),
    "no model": (removed(MODEL), "model.mlmodel is missing"),
    "model is a link": (linked(MODEL), "is a symbolic link"),
    "model is a pipe": (pipe(MODEL), "is not a regular file"),
    "model is noise": (replaced(MODEL, b"\xff" * 99), "is not a CoreML model"),
    "model is huge": (resized(MODEL, 2**29), "more than the 268435456"),
    "model nests": (replaced(MODEL, b"\x82\x01" * 10**5), "is not a CoreML model"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str, small_package: Path) -> None:
    change, said = REFUSALS[name]
    change(small_package)
    with pytest.raises(ArtifactError, match=said) as caught:
        open_package(small_package)
    assert_one_line(caught.value, str(small_package))


def test_what_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "net.mlmodel"
    file.write_bytes(b"x")
    for path in (file, tmp_path / "missing"):
        with pytest.raises(ArtifactError, match="is not a CoreML package"):
            open_package(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (removed(WEIGHTS), "weight.bin is missing"),
        (linked(WEIGHTS), "is a symbolic link"),
        (pipe(WEIGHTS), "is not a regular file"),
        (resized(WEIGHTS, 0), "is too short"),
        (resized(WEIGHTS, 200), "leaves the file"),
    ],
)
def test_weight_files(change: Callable[[Path], None], said: str, small_package: Path) -> None:
    change(small_package)
    with pytest.raises(ArtifactError, match=said) as caught:
        read_weight(small_package)
    assert_one_line(caught.value, str(small_package))


@pytest.mark.parametrize(
    "name", ["weights/weight.bin", "@model_path/../../x", "@model_path//etc/passwd", "/etc/passwd"]
)
def test_weights_outside_the_package(name: str, small_package: Path) -> None:
    package = open_package(small_package)
    with pytest.raises(ArtifactError, match=r"outside itself|is missing") as caught:
        package.blob(name, 64)
    assert_one_line(caught.value, str(small_package))


def test_other_kinds_of_model(tmp_path: Path) -> None:
    builder = ct.models.neural_network.NeuralNetworkBuilder(
        [("x", ct.models.datatypes.Array(3))], [("y", ct.models.datatypes.Array(3))]
    )
    builder.add_activation("relu", "RELU", "x", "y")
    path = tmp_path / "old.mlpackage"
    ct.models.MLModel(builder.spec, skip_model_load=True).save(str(path))
    with pytest.raises(ArtifactError, match="is a neuralNetwork, no mlProgram") as caught:
        read_program(open_package(path))
    assert_one_line(caught.value, str(path))
