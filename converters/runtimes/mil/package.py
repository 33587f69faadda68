"""A CoreML package (`.mlpackage`) on disk: its manifest, its model and its weight files.

The model is a protobuf message whose generated classes come with coremltools. They are loaded by
themselves: importing coremltools would take seconds, and torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ArtifactError, MissingExtraError, one_line
from .blob import Blob, BlobFile
from .files import locate, opened, read_bytes

MANIFEST_LIMIT = 2**20  # bytes; a written one has under a thousand
MODEL_LIMIT = 2**28  # bytes; weights are beside the model, not in it
_MODEL_PATH = "@model_path/"
_PROTO = f"{__package__}.coreml_proto"  # the name under which the generated classes are loaded


class Package:
    """A package whose parts are all there.

    `model` is the root model as a message of type `CoreML.Specification.Model`.
    """

    def __init__(self, path: Path, model: Any, folder: Path) -> None:
        self.path = path
        self.model = model
        self._root = path.resolve()
        self._folder = folder  # the model's own, relative to the root
        self._blob_files: dict[str, BlobFile] = {}

    def blob(self, file_name: str, offset: int) -> Blob:
        """What a program's reference `@model_path/...`, `offset` points at.

        Raises ArtifactError if the file is missing, damaged or outside the package.
        """
        if file_name not in self._blob_files:
            if not file_name.startswith(_MODEL_PATH):
                raise ArtifactError(
                    f"{self.path}: names a file outside itself ({one_line(file_name, 80)!r})"
                )
            relative = self._folder / file_name.removeprefix(_MODEL_PATH)
            with opened(locate(self._root, str(relative))) as file:
                self._blob_files[file_name] = BlobFile(file)
        return self._blob_files[file_name].read(offset)


def open_package(path: Path) -> Package:
    """Reads a package's manifest and root model.

    Raises ArtifactError, naming the file, for whatever is missing, damaged or too large, and for
    a manifest that points outside the package; MissingExtraError without coremltools.
    """
    root = path.resolve()
    if not root.is_dir():
        raise ArtifactError(f"{path}: is not a CoreML package, which is a folder")
    items, identifier = _read_manifest(root)
    files = {key: locate(root, str(Path("Data", item))) for key, item in items.items()}
    file = files[identifier]
    model = _proto("Model_pb2").Model()
    try:
        model.ParseFromString(read_bytes(file, MODEL_LIMIT))
    except _decode_error():
        raise ArtifactError(f"{file}: is not a CoreML model (damaged)") from None
    return Package(path, model, file.parent.relative_to(root))


def _read_manifest(root: Path) -> tuple[Mapping[str, str], str]:
    """The paths of a package's items by their identifiers, and the root model's identifier."""
    file = locate(root, "Manifest.json")
    try:
        document = json.loads(read_bytes(file, MANIFEST_LIMIT))
        version = document["fileFormatVersion"]
        items = {key: item["path"] for key, item in document["itemInfoEntries"].items()}
        identifier = document["rootModelIdentifier"]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise ArtifactError(f"{file}: is not the manifest of a CoreML package") from None
    if not isinstance(version, str) or version.split(".")[0] != "1":
        raise ArtifactError(f"{file}: has a format version other than 1")
    if not all(isinstance(item, str) for item in items.values()):
        raise ArtifactError(f"{file}: is not the manifest of a CoreML package")
    if not isinstance(identifier, str) or identifier not in items:
        raise ArtifactError(f"{file}: does not say which item is the model")
    return items, identifier


def _proto(module: str) -> Any:
    """A generated module of `coremltools.proto`, as part of a package of our own."""
    if _PROTO not in sys.modules:
        coremltools = importlib.util.find_spec("coremltools")
        if coremltools is None or not coremltools.submodule_search_locations:
            raise MissingExtraError("coremltools", "coreml")
        folder = Path(coremltools.submodule_search_locations[0], "proto")
        spec = importlib.util.spec_from_file_location(
            _PROTO, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None:
            raise MissingExtraError("coremltools", "coreml")
        package = importlib.util.module_from_spec(spec)
        sys.modules[_PROTO] = package
        spec.loader.exec_module(package)
    return importlib.import_module(f"{_PROTO}.{module}")


def _decode_error() -> type[Exception]:
    return importlib.import_module("google.protobuf.message").DecodeError
