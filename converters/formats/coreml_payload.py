"""CoreML packages inside a `.pte`: the folders that ExecuTorch's CoreML backend has flattened.

A payload is the contents of all files, one after another, and behind them, byte by byte in
reverse, a JSON document with the tree of folders: a list of nodes, the root last, whose children
go by name and number. In it stand a `.mlpackage` (or, made on a Mac, a compiled `.mlmodelc`) and
`metadata.json`, which names the model's inputs and outputs in the order of the delegate's
arguments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import ArtifactError
from .pte import Delegate, PteProgram

BACKEND = "CoreMLBackend"
_JSON_LIMIT = 2**20  # bytes of a document; a written one has some thousand
_DEPTH_LIMIT = 16
_REFERENCE = b"CMJR"  # before a JSON document that names the payload in the program's named data
_MODEL_SUFFIXES = (".mlpackage", ".mlmodelc")


@dataclass(frozen=True)
class CoremlDelegate:
    """A delegate's payload: its tree, and the names of its arguments in order."""

    files: Mapping[PurePosixPath, memoryview]
    folders: tuple[PurePosixPath, ...]  # each after the one that it is in
    model: str  # the name of the package's folder
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class _PayloadError(ValueError):
    pass


def read_coreml(program: PteProgram, delegate: Delegate) -> CoremlDelegate:
    """What a delegate of the CoreML backend holds.

    Raises ArtifactError, naming the program's file, where the payload is damaged or a path in it
    is no plain name.
    """
    try:
        files, folders = _tree(_resolved(program, delegate))
        models = [str(path) for path in folders if str(path).endswith(_MODEL_SUFFIXES)]
        if len(models) != 1 or "/" in models[0]:
            raise _PayloadError("has no model, or several")
        metadata = files.get(PurePosixPath("metadata.json"))
        if metadata is None or len(metadata) > _JSON_LIMIT:
            raise _PayloadError("does not name its inputs")
        document = json.loads(metadata.tobytes())
        names = tuple(tuple(document[key]) for key in ("inputNames", "outputNames"))
        if not all(isinstance(name, str) for group in names for name in group):
            raise _PayloadError("does not name its inputs")
        return CoremlDelegate(files, folders, models[0], *names)
    except _PayloadError as error:
        reason = str(error)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        reason = "is damaged"
    raise ArtifactError(
        f"{program.path}: is not a sound .pte file: a CoreML delegate {reason}"
    ) from None


def extract_coreml(program: PteProgram, folder: Path) -> tuple[Path, ...]:
    """Writes each CoreML package of a program into `folder`, as it was saved.

    The packages' paths are in the order of the delegates: `folder/0/model.mlpackage`. Raises
    ArtifactError as `read_coreml` does; FileExistsError rather than overwrite anything.
    """
    delegates = [one for method in program.methods for one in method.delegates]
    contents = (read_coreml(program, one) for one in delegates if one.backend == BACKEND)
    return tuple(write_package(one, folder / str(i)) for i, one in enumerate(contents))


def write_package(content: CoremlDelegate, folder: Path) -> Path:
    """Writes a delegate's package into a new folder; returns its path."""
    folder.mkdir(parents=True)
    for path in content.folders:
        if path.parts[0] == content.model:
            (folder / path).mkdir()
    for path, data in content.files.items():
        if path.parts[0] == content.model:
            with (folder / path).open("xb") as file:
                file.write(data)
    return folder / content.model


def _resolved(program: PteProgram, delegate: Delegate) -> memoryview:
    data = delegate.payload.data
    if data[:4].tobytes() != _REFERENCE:
        return data
    key = json.loads(data[4:_JSON_LIMIT].tobytes())["key"]
    if key not in program.named_data:
        raise _PayloadError("refers to named data that is not there")
    return program.named_data[key].data


def _tree(
    data: memoryview,
) -> tuple[dict[PurePosixPath, memoryview], tuple[PurePosixPath, ...]]:
    """The files of a payload, together no larger than it, and its folders but for the root."""
    # Latin-1 gives each byte a character, so that what comes before the document does no harm.
    text = data[-_JSON_LIMIT:].tobytes()[::-1].decode("latin-1")
    nodes = json.JSONDecoder().raw_decode(text)[0]["nodes"]
    files: dict[PurePosixPath, memoryview] = {}
    folders = []
    left = len(data)
    for path, node in _walk(nodes, len(nodes) - 1, PurePosixPath(), set()):
        if node["kind"] == 1:
            folders.append(path)
            continue
        start, size = int(node["dataRegion"]["offset"]), int(node["dataRegion"]["size"])
        left -= size
        if min(start, size, left) < 0 or start + size > len(data):
            raise _PayloadError("ends before its data")
        files[path] = data[start : start + size]
    return files, tuple(folders[1:])


def _walk(
    nodes: list[dict[str, Any]], number: int, path: PurePosixPath, seen: set[int]
) -> Iterator[tuple[PurePosixPath, dict[str, Any]]]:
    """A node and all that it holds, each once."""
    if number in seen or not 0 <= number < len(nodes) or len(path.parts) > _DEPTH_LIMIT:
        raise _PayloadError("has a damaged tree of folders")
    seen.add(number)
    yield path, nodes[number]
    if nodes[number]["kind"] == 1:
        for name, child in (nodes[number].get("children") or {}).items():
            if not _is_plain(name):
                raise _PayloadError("has a path that leaves its folder")
            yield from _walk(nodes, int(child), path / name, seen)


def _is_plain(name: str) -> bool:
    """Whether a name stands for itself in a folder of any system."""
    return (
        0 < len(name) <= 255
        and name not in (".", "..")
        and name.isascii()
        and name.isprintable()
        and not set(name) & set('/\\:*?"<>|')
    )
