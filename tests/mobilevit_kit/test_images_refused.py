"""What is no photo, or a damaged one, is refused in one clear line."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converters.errors import UsageError
from converters.preprocessing import Preprocessing
from mobilevit_kit.images import fit, read_photo
from tests.mobilevit_kit.pictures import colours, png, saved

SMALL = Preprocessing((32, 32))


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_photo(path)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert str(path) in message
    assert "\n" not in message
    return message


def test_missing(tmp_path):
    assert "no such file" in refusal(tmp_path / "absent.jpg")
    assert "not a directory" in refusal(saved(tmp_path / "a.png", colours()) / "b.png")
    assert "too long" in refusal(tmp_path / ("x" * 300 + ".jpg"))


def test_directory(tmp_path):
    assert "it is a directory" in refusal(tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "not a regular file" in refusal(tmp_path / "pipe.jpg")


def test_without_permission(tmp_path, monkeypatch):
    def deny(*_):
        raise PermissionError(13, "Permission denied")  # root may read everything, so pretend

    path = saved(tmp_path / "photo.png", colours())
    monkeypatch.setattr(Path, "open", deny)
    assert "permission denied" in refusal(path)


def test_empty(tmp_path):
    (tmp_path / "empty.jpg").touch()
    assert "it is empty" in refusal(tmp_path / "empty.jpg")


@pytest.mark.parametrize(
    "text", ["hello\n" * 100, "%!PS-Adobe-3.0 EPSF-3.0\n", "<svg></svg>", "\0"]
)
def test_text_and_what_is_no_photo(tmp_path, text):
    (tmp_path / "text.jpg").write_text(text)
    assert "none of the formats JPEG, PNG" in refusal(tmp_path / "text.jpg")


def test_formats_that_would_start_another_program(tmp_path):
    path = saved(tmp_path / "drawing.eps", colours())
    assert "none of the formats JPEG, PNG" in refusal(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "bmp", "gif", "ppm", "jp2"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated(tmp_path, suffix, part):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = saved(tmp_path / f"cut.{suffix}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert "truncated or damaged" in refusal(path) or "header is damaged" in refusal(path)


def test_damaged_files_give_a_photo_or_one_line(tmp_path):
    random = np.random.default_rng(0)
    whole = []
    for suffix in ("jpg", "png", "webp", "bmp", "gif", "ppm", "jp2"):
        buffer = io.BytesIO()
        Image.fromarray(colours()).save(buffer, Image.registered_extensions()[f".{suffix}"])
        whole.append(buffer.getvalue())
    path = tmp_path / "damaged"
    refused = 0
    for round_ in range(300):
        content = bytearray(whole[round_ % len(whole)])
        reach = len(content) if round_ % 2 else 64  # headers deserve half of the damage
        for place in random.integers(0, reach, random.integers(1, 20)):
            content[place] = random.integers(256)
        path.write_bytes(content)
        try:
            assert fit(read_photo(path), SMALL).shape == (32, 32, 3)
        except UsageError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert 50 < refused < 300


def test_decompression_bomb(tmp_path):
    path = tmp_path / "bomb.png"
    png(path, 0, np.zeros((1, 1, 1), np.uint16))
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    assert "more than 178 million pixels" in refusal(path)


def test_floating_point_pixels_have_no_known_range(tmp_path):
    path = saved(tmp_path / "depth.tiff", np.ones((4, 4), np.float32))
    assert "no known meaning" in refusal(path)


@pytest.mark.parametrize("value", [-1, 65536, 2**31 - 1])
def test_32_bit_integers_have_no_known_range(tmp_path, value):
    path = saved(tmp_path / "depth.tiff", np.full((4, 4), value, np.int32))
    assert "no known meaning" in refusal(path)
