"""Weight files: what coremltools' own writer stores, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import coremltools  # noqa: F401  (its extension module needs it)
import numpy as np
import pytest
from coremltools.libmilstoragepython import _BlobStorageWriter

from converters.errors import ArtifactError
from converters.runtimes.mil.blob import BlobFile
from converters.runtimes.mil.constants import from_blob
from converters.runtimes.mil.files import opened
from tests.converters.handmade import assert_one_line

WHOLE = ["float32", "int8", "uint8", "int16", "uint16", "int32", "uint32"]
PACKED = {"uint1": 2, "uint2": 4, "uint3": 8, "uint4": 16, "uint6": 64}


def read(path: Path, offset: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    with opened(path) as file:
        return from_blob(BlobFile(file).read(offset), dtype, shape)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_types(name: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 100, 77).astype(name)
    values[0], values[1] = (np.pi, -1e30) if name == "float32" else (np.iinfo(name).min, -0)
    path = tmp_path / "weight.bin"
    writer = _BlobStorageWriter(str(path))
    write = getattr(writer, f"write_{name.replace('float32', 'float')}_data")
    first, second = write(values), write(values[::-1].copy())
    del writer
    dtype = name.replace("float", "fp")
    np.testing.assert_array_equal(read(path, first, dtype, (7, 11)), values.reshape(7, 11))
    np.testing.assert_array_equal(read(path, second, dtype, (77,)), values[::-1])


@pytest.mark.parametrize("dtype", PACKED)
@pytest.mark.parametrize("count", [1, 7, 8, 77])
def test_packed_types(dtype: str, count: int, tmp_path: Path) -> None:
    values = np.random.default_rng(count).integers(0, PACKED[dtype], count, np.uint8)
    path = tmp_path / "weight.bin"
    writer = _BlobStorageWriter(str(path))
    offset = getattr(writer, f"write_{dtype}_data")(values)
    del writer
    np.testing.assert_array_equal(read(path, offset, dtype, (count,)), values)


def test_signed_nibbles_and_half_floats(tmp_path: Path) -> None:
    nibbles = np.array([-8, -1, 0, 7, 3], np.int8)
    halves = np.array([65504, -1e-7, 0.1], np.float16)
    path = tmp_path / "weight.bin"
    writer = _BlobStorageWriter(str(path))
    first = writer.write_int4_data(nibbles)
    second = writer.write_fp16_data(halves.view(np.uint16))
    del writer
    np.testing.assert_array_equal(read(path, first, "int4", (5,)), nibbles)
    np.testing.assert_array_equal(read(path, second, "fp16", (3,)), halves)


def weight_file(path: Path, *, version: int = 2, **metadata: int) -> Path:
    """A file with one blob of four fp32 values at offset 64."""
    fields = {"sentinel": 0xDEADBEEF, "dtype": 2, "size": 16, "start": 128, "padding": 0}
    header = struct.pack("<II", 1, version).ljust(64, b"\0")
    blob = struct.pack("<IIQQQ", *(fields | metadata).values()).ljust(64, b"\0")
    path.write_bytes(header + blob + struct.pack("<4f", 1, 2, 3, 4))
    return path


def test_handmade_file(tmp_path: Path) -> None:
    path = weight_file(tmp_path / "weight.bin")
    np.testing.assert_array_equal(read(path, 64, "fp32", (2, 2)), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"version": 1}, "is not a weight file of version 2"),
        ({"sentinel": 1}, "what stands at offset 64 is no blob"),
        ({"dtype": 99}, "what stands at offset 64 is no blob"),
        ({"padding": 9}, "what stands at offset 64 is no blob"),
        ({"size": 17}, "the blob at offset 64 leaves the file"),
        ({"size": 2**63}, "the blob at offset 64 leaves the file"),
        ({"start": 2**64 - 64}, "the blob at offset 64 leaves the file"),
        ({"start": 129}, "the blob at offset 64 leaves the file"),
    ],
)
def test_damaged_metadata(metadata: dict[str, int], said: str, tmp_path: Path) -> None:
    path = weight_file(tmp_path / "weight.bin", **metadata)
    with pytest.raises(ArtifactError, match=said) as caught:
        read(path, 64, "fp32", (4,))
    assert_one_line(caught.value, str(path))


@pytest.mark.parametrize("offset", [1, 65, 128, 2**40, 2**64 - 64])
def test_offsets_without_a_blob(offset: int, tmp_path: Path) -> None:
    path = weight_file(tmp_path / "weight.bin")
    with pytest.raises(ArtifactError, match=f"has no blob at offset {offset}"):
        read(path, offset, "fp32", (4,))


def test_short_file(tmp_path: Path) -> None:
    path = tmp_path / "weight.bin"
    path.write_bytes(b"\2" * 63)
    with pytest.raises(ArtifactError, match="is too short"):
        read(path, 64, "fp32", (4,))


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("fp16", (4,)), ("int32", (4,)), ("fp32", (5,)), ("fp32", (2**40, 2**40)), ("fp32", (0,))],
)
def test_blobs_of_another_type_or_size(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = weight_file(tmp_path / "weight.bin")
    with pytest.raises(ValueError, match=r"is stored where|16 bytes for"):
        read(path, 64, dtype, shape)


def test_the_file_stays_as_it_is(tmp_path: Path) -> None:
    path = weight_file(tmp_path / "weight.bin")
    before = path.read_bytes()
    array = read(path, 64, "fp32", (4,))
    array[:] = 0  # the mapping is private
    assert path.read_bytes() == before
