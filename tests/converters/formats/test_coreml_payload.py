"""CoreML packages inside a .pte beside what the vendor's own tool unpacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from executorch.backends.apple.coreml import executorchcoreml

from converters import Artifact
from converters.errors import ArtifactError
from converters.formats.coreml_payload import extract_coreml, read_coreml
from converters.formats.pte import Blob, PteProgram, read_pte
from converters.recipe import Recipe
from tests.converters.handmade import assert_one_line

pytestmark = pytest.mark.slow


@pytest.fixture
def program(converted: Callable[..., Artifact]) -> PteProgram:
    return read_pte(converted("mixed", Recipe("executorch", backend="coreml")).path)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_packages_are_those_that_the_vendor_unpacks(program: PteProgram, tmp_path: Path) -> None:
    payload = bytes(program.method().delegates[0].payload.data)
    (tmp_path / "vendor").mkdir()
    assert executorchcoreml.unflatten_directory_contents(payload, str(tmp_path / "vendor"))
    (package,) = extract_coreml(program, tmp_path / "ours")
    assert package == tmp_path / "ours/0/model.mlpackage"
    assert len(contents(package)) >= 5
    assert contents(package) == contents(tmp_path / "vendor/lowered_module/model.mlpackage")


def test_names_of_inputs_and_outputs(program: PteProgram) -> None:
    content = read_coreml(program, program.method().delegates[0])
    assert content.inputs == ("image", "ids") and len(content.outputs) == 3


def test_nothing_is_overwritten(program: PteProgram, tmp_path: Path) -> None:
    extract_coreml(program, tmp_path)
    with pytest.raises(FileExistsError):
        extract_coreml(program, tmp_path)


METADATA = b'{"inputNames": ["x"], "outputNames": ["y"]}'
FILES: list[dict[str, Any]] = [
    {"name": "metadata.json", "kind": 0, "dataRegion": {"offset": 0, "size": len(METADATA)}},
    {"name": "m", "kind": 0, "dataRegion": {"offset": 0, "size": 4}},
    {"name": "model.mlpackage", "kind": 1, "children": {"m": 1}},
    {"name": "root", "kind": 1, "children": {"metadata.json": 0, "model.mlpackage": 2}},
]


def handmade(program: PteProgram, nodes: Any) -> PteProgram:
    """The program with a payload of this tree."""
    data = METADATA + json.dumps({"nodes": nodes}).encode()[::-1]
    method = program.method()
    delegate = replace(method.delegates[0], payload=Blob(0, memoryview(data)))
    return replace(program, methods=(replace(method, delegates=(delegate,)),))


def changed(number: int, **fields: Any) -> list[dict[str, Any]]:
    return [node | fields if i == number else node for i, node in enumerate(FILES)]


def test_a_handmade_tree(program: PteProgram, tmp_path: Path) -> None:
    (package,) = extract_coreml(handmade(program, FILES), tmp_path)
    assert contents(package) == {"m": METADATA[:4]}
    empty = handmade(program, changed(2, children=None))
    (package,) = extract_coreml(empty, tmp_path / "empty")
    assert contents(package) == {}


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        (changed(2, children={"../m": 1}), "leaves its folder"),
        (changed(2, children={"..": 1}), "leaves its folder"),
        (changed(2, children={"/m": 1}), "leaves its folder"),
        (changed(2, children={"a\nb": 1}), "leaves its folder"),
        (changed(2, children={"": 1}), "leaves its folder"),
        (changed(2, children={"m": 3}), "damaged tree"),
        (changed(2, children={"m": 9}), "damaged tree"),
        (changed(2, children={"m": -1}), "damaged tree"),
        (changed(2, children={"m": 1e999}), "is damaged"),
        (changed(2, children={"m": 1, "n": 1}), "damaged tree"),
        (changed(2, children=[1]), "is damaged"),
        (changed(1, dataRegion={"offset": 0, "size": 10**9}), "ends before its data"),
        (changed(1, dataRegion={"offset": -1, "size": 1}), "ends before its data"),
        (changed(1, dataRegion={}), "is damaged"),
        (changed(3, children={"metadata.json": 0}), "no model"),
        (changed(3, children={"model.mlpackage": 2}), "does not name its inputs"),
        (changed(0, dataRegion={"offset": 1, "size": 9}), "is damaged"),
        ([], "damaged tree"),
        ({}, "damaged tree"),
        (7, "is damaged"),
    ],
)
def test_damaged_trees(nodes: Any, reason: str, program: PteProgram, tmp_path: Path) -> None:
    damaged = handmade(program, nodes)
    with pytest.raises(ArtifactError, match=reason) as caught:
        extract_coreml(damaged, tmp_path / "out")
    assert_one_line(caught.value, str(program.path), "CoreML")
    assert contents(tmp_path) in ({}, {"out": None})


def test_a_tree_that_copies_its_bytes_again_and_again(program: PteProgram, tmp_path: Path) -> None:
    region = {"offset": 0, "size": len(METADATA)}
    many = [{"name": str(i), "kind": 0, "dataRegion": region} for i in range(1000)]
    children = {str(i): i for i in range(1000)}
    nodes = [*many, {"name": "root", "kind": 1, "children": children}]
    with pytest.raises(ArtifactError):
        extract_coreml(handmade(program, nodes), tmp_path)


def test_a_reference_to_named_data(program: PteProgram, tmp_path: Path) -> None:
    payload = program.method().delegates[0].payload
    method = program.method()
    for key, fits in (("k", True), ("other", False)):
        data = b"CMJR" + json.dumps({"key": key}).encode()
        delegate = replace(method.delegates[0], payload=Blob(0, memoryview(data)))
        methods = (replace(method, delegates=(delegate,)),)
        moved = replace(program, methods=methods, named_data={"k": payload})
        if fits:
            assert extract_coreml(moved, tmp_path)
        else:
            with pytest.raises(ArtifactError, match="named data that is not there"):
                extract_coreml(moved, tmp_path / "other")
