"""Pictures that tests save in the formats of photos."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def colours(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture (H, W, 3) that differs in every corner and every channel."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = x * 255 / (width - 1), y * 255 / (height - 1)
    return np.stack([red, green, 255 - red / 2 - green / 2], -1).round().astype(np.uint8)


def saved(path: Path, pixels: np.ndarray, mode: str | None = None, **options) -> Path:
    photo = Image.fromarray(pixels)
    if mode:
        photo = photo.convert(mode)
    photo.save(path, **options)
    return path


def png(path: Path, colour_type: int, rows: np.ndarray) -> Path:
    """A 16-bit PNG, of a kind that Pillow reads but does not write; rows (H, W, C) uint16."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width = rows.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )
    return path
