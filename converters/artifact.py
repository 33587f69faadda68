"""The artifact on disk: a converted file, its manifest and its golden tensors, side by side.

    mobilevit_xs-fp32.tflite              what an app ships
    mobilevit_xs-fp32.tflite.json         the manifest (`converters.manifest`)
    mobilevit_xs-fp32.tflite.golden.npz   parity inputs and the source's outputs on them

The three are staged in a hidden folder beside their destination and renamed, so that an
interrupted command leaves each old file or each new one. A converted file may be a folder
(`.mlpackage`); it is hashed and renamed as one. No torch here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from .errors import ArtifactError, UsageError, one_line
from .manifest import FileRecord, Manifest, ParityRecord, TensorSpec

Arrays = Mapping[str, NDArray[Any]]
CaseKind = Literal["photo", "random", "example"]

FAILED_SUFFIX = "-FAILED"
FOLDER_SUFFIXES = (".mlpackage",)  # converted files that are folders
_LARGEST_MANIFEST = 4 * 2**20  # bytes; a thousand classes make 30 kB, a thousand cases 1 MB
_LARGEST_GOLDEN = 4 * 2**30  # bytes unpacked; a few kilobytes of zeros can claim any size


@dataclass(frozen=True)
class GoldenCase:
    """One set of inputs of the file, by name, and what the source makes of them."""

    name: str
    kind: CaseKind
    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True)
class Artifact:
    """A converted file together with what is known about it."""

    path: Path
    manifest: Manifest

    @property
    def parity(self) -> ParityRecord:
        return self.manifest.parity

    def golden(self) -> tuple[GoldenCase, ...]:
        """The parity inputs and reference outputs.

        Raises ArtifactError for a damaged file, and for one that does not hold exactly the inputs
        and outputs of the manifest: what is not stored would never be compared.
        """
        path = self.path.parent / self.manifest.golden.name
        cases = read_golden(path)
        for case in cases:
            flexible = any(one.sizes for one in self.manifest.inputs)
            if not (
                _hold(case.inputs, self.manifest.inputs)
                and _hold(case.outputs, self.manifest.outputs, any_shape=flexible)
            ):
                raise ArtifactError(
                    f"{path}: case {one_line(case.name, 40)} does not hold the tensors that "
                    f"the manifest describes"
                )
        return cases


def _hold(arrays: Arrays, specs: Sequence[TensorSpec], *, any_shape: bool = False) -> bool:
    """Whether these are tensors of the specs, all of them and no others."""
    if set(arrays) != {one.name for one in specs}:
        return False
    return all(
        arrays[one.name].dtype.name == one.dtype
        and (any_shape or arrays[one.name].shape in _shapes(one, arrays[one.name].shape[:1]))
        for one in specs
    )


def _shapes(spec: TensorSpec, batch: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes that a tensor may have, for one with this first axis."""
    shape = spec.shape
    if spec.dynamic_batch is not None and batch and 1 <= batch[0] <= spec.dynamic_batch:
        shape = batch + shape[1:]
    return [shape, *(shape[:2] + tuple(map(int, size.split("x"))) for size in spec.sizes)]


def manifest_path(file: Path) -> Path:
    return file.with_name(file.name + ".json")


def load_artifact(file: Path) -> Artifact:
    """Reads the artifact of a converted file and checks all three parts.

    Raises ArtifactError, in one line, when a part is missing, damaged or was altered.
    """
    if file.name.endswith((".json", ".npz")):
        raise ArtifactError(
            f"{file}: this is the proof beside a converted file, not the file itself",
            "name the file that it stands beside",
        )
    try:
        if not file.exists():
            raise ArtifactError(f"{file}: no such file")
        if file.is_dir() and file.suffix not in FOLDER_SUFFIXES:
            raise ArtifactError(f"{file}: is a folder, not a converted file")
    except OSError as error:
        raise ArtifactError(f"{file}: cannot be read: {_reason(error)}") from None
    beside = manifest_path(file)
    try:
        if beside.stat().st_size > _LARGEST_MANIFEST:
            raise ArtifactError(f"{beside}: too large for a manifest")
        text = beside.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArtifactError(
            f"{file}: its manifest {beside.name} is missing",
            "bring it along, or convert again with `mvkit convert`",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{beside}: cannot be read: {_reason(error)}") from None
    manifest = Manifest.from_json(text, str(beside))
    if manifest.file.name != file.name:
        raise ArtifactError(f"{beside}: describes {manifest.file.name}, not {file.name}")
    for record in (manifest.file, manifest.golden):
        _check(file.parent / record.name, record)
    return Artifact(file, manifest)


def _check(path: Path, record: FileRecord) -> None:
    try:
        size = size_of(path)
        if size != record.bytes:
            what = "truncated" if size < record.bytes else "altered"
            raise ArtifactError(f"{path}: was {what}: {size} bytes, {record.bytes} in its manifest")
        if digest_of(path) != record.sha256:
            raise ArtifactError(f"{path}: was altered: its SHA-256 is not the manifest's")
    except FileNotFoundError:
        raise ArtifactError(f"{path}: missing, although the manifest names it") from None
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {_reason(error)}") from None


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, over each file's relative path and SHA-256 in their order.

    Raises ArtifactError where a folder holds anything but plain files and folders: what a link
    leads to is no part of it.
    """
    if not path.is_dir():
        return hash_file(path)
    lines = [f"{part.relative_to(path).as_posix()}\0{hash_file(part)}\n" for part in _parts(path)]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(part.stat().st_size for part in (_parts(path) if path.is_dir() else [path]))


def _parts(folder: Path) -> list[Path]:
    parts = []
    for place, names, files in os.walk(folder):
        for name in (*names, *files):
            part = Path(place, name)
            if part.is_symlink() or not (part.is_dir() or part.is_file()):
                raise ArtifactError(f"{folder}: {one_line(name, 80)} is not a plain file")
            if name in files:
                parts.append(part)
    return sorted(parts)


def record_file(path: Path, name: str) -> FileRecord:
    """What the manifest says about the file at `path`, under the name that it will have."""
    return FileRecord(name, digest_of(path), size_of(path))


def write_golden(path: Path, cases: Sequence[GoldenCase]) -> None:
    """Stores cases as a compressed .npz with entries `kind/case/in|out/tensor`."""
    entries: dict[str, Any] = {}
    for case in cases:
        prefix = f"{case.kind}/{quote(case.name, safe='')}"  # a photo's name may hold a slash
        entries |= {f"{prefix}/in/{name}": array for name, array in case.inputs.items()}
        entries |= {f"{prefix}/out/{name}": array for name, array in case.outputs.items()}
    np.savez_compressed(path, allow_pickle=False, **entries)


def read_golden(path: Path) -> tuple[GoldenCase, ...]:
    """Reads what `write_golden` wrote. Raises ArtifactError for anything else."""
    parts: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {}
    try:
        with zipfile.ZipFile(path) as archive:  # first: np.load takes what is no archive for pickle
            if sum(entry.file_size for entry in archive.infolist()) > _LARGEST_GOLDEN:
                raise ValueError(f"it unpacks to more than {_LARGEST_GOLDEN // 2**30} GiB")
        with warnings.catch_warnings(), np.load(path, allow_pickle=False) as arrays:
            warnings.simplefilter("error")  # NumPy only warns of headers that it never wrote
            for key in arrays.files:
                kind, case, direction, tensor = key.split("/", 3)
                if kind not in get_args(CaseKind) or direction not in ("in", "out"):
                    raise ValueError(f"unknown entry {key}")
                array = arrays[key]
                if not isinstance(array, np.ndarray):  # np.load hands over other files as bytes
                    raise ValueError(f"entry {key} is not an array")
                inputs, outputs = parts.setdefault((kind, unquote(case)), ({}, {}))
                (inputs if direction == "in" else outputs)[tensor] = array
    except Exception as error:  # zipfile, zlib and numpy each have their own for a bad archive
        raise ArtifactError(f"{path}: not a readable golden file: {_reason(error)}") from None
    return tuple(
        GoldenCase(name, kind, inputs, outputs)  # type: ignore[arg-type]
        for (kind, name), (inputs, outputs) in parts.items()
    )


@contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A folder on the same file system as `directory`, gone when the block ends.

    So is `directory` itself where it was not there before and nothing was put into it.

    Raises UsageError when the folder cannot be made or written, or the disk fills up.
    """
    try:
        made = not directory.exists()
        directory.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".mvkit-", dir=directory))
    except OSError as error:
        raise UsageError(f"cannot write to {directory}: {_reason(error)}") from None
    try:
        yield stage
    except OSError as error:
        raise UsageError(f"cannot write to {directory}: {_reason(error)}") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if made:
            with suppress(OSError):  # it holds something: the block ended well
                directory.rmdir()


def publish(stage: Path, directory: Path, names: Sequence[str]) -> None:
    """Renames staged files and folders into place, in the order given: the manifest goes last."""
    for name in names:
        staged, place = stage / name, directory / name
        for part in _parts(staged) if staged.is_dir() else [staged]:
            with part.open("rb") as stream:
                os.fsync(stream.fileno())
        with _uninterrupted():
            if place.is_dir():  # which no folder replaces: the old one goes when `stage` does
                place.replace(stage / f"{name}.old")
            staged.replace(place)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C and the like back for the block."""
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


def find_unchanged(file: Path, request: str, *, verified: bool) -> Artifact | None:
    """The artifact at `file` if the same request made it and it is still whole.

    Returns None where there is nothing, or where it only lacks the verdict that is wanted now
    (`verified`). Raises UsageError when another file has the name.
    """
    if not file.exists() and not manifest_path(file).exists():
        return None
    try:
        artifact = load_artifact(file)
    except ArtifactError as error:
        raise UsageError(f"{file} exists but is not whole ({error.message})", _REPLACE) from None
    if artifact.manifest.request != request:
        raise UsageError(f"{file} was made from other weights, options or versions", _REPLACE)
    if verified and artifact.parity.verdict != "pass":
        return None
    return artifact


_REPLACE = "pass --force to replace it, or another --output folder"


def _reason(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return one_line(text) or type(error).__name__
