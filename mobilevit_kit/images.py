"""Photo files in, uint8 tensors out: decoding, orientation, resizing, cropping.

What happens to the pixels after that (0..1, mean, std) is `Preprocessing.normalise`. No torch here.

Colour is taken as stored: embedded ICC profiles are ignored, as they are where ImageNet networks
are trained.
"""

from __future__ import annotations

import functools
import importlib.resources
import math
import stat
import warnings
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from converters.errors import UsageError
from converters.preprocessing import Preprocessing

# Formats that photos come in. Pillow knows more, some of which start other programs (EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM")

# Pillow refuses to decode more pixels than this, and no resized photo may have more either.
_MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 89_478_485)

SAMPLE_PHOTOS = "photos"  # the folder of the assets that is not for one model alone


def read_photo(path: Path) -> Image.Image:
    """Reads a photo as RGB, upright as its EXIF orientation says.

    Greyscale, palette, CMYK and 16-bit photos become 8-bit RGB; transparent parts are shown over
    white; of several frames the first counts. Raises UsageError for anything that is no readable
    photo.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise _unreadable(path, "it is a directory")
        if not stat.S_ISREG(status.st_mode):  # a pipe would block, a device would never end
            raise _unreadable(path, "it is not a regular file")
        if status.st_size == 0:
            raise _unreadable(path, "it is empty")
        with path.open("rb") as file:
            return _decode(file, str(path))
    except OSError as error:
        raise _unreadable(path, (error.strerror or str(error)).lower()) from None


def fit(photo: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resizes a photo so that it covers `size` / `crop`, and crops the centre: (H, W, C).

    C is 3 (RGB, also where `channel_order` is "bgr", which `normalise` sees to) or 1 (grey). The
    result equals timm's evaluation transform pixel by pixel.
    """
    height, width = preprocessing.size
    full_height, full_width = _covering_size(photo, preprocessing)
    if full_height * full_width > _MOST_PIXELS:
        raise UsageError(
            f"to fill {height}x{width} its {photo.height}x{photo.width} pixels would have to be "
            f"resized to {full_height}x{full_width}, which is too many"
        )
    mode = "L" if preprocessing.channel_order == "grey" else "RGB"
    if photo.mode != mode:
        photo = photo.convert(mode)
    filter_ = Image.Resampling[preprocessing.interpolation.upper()]
    photo = photo.resize((full_width, full_height), filter_)
    top = round((full_height - height) / 2)
    left = round((full_width - width) / 2)
    photo = photo.crop((left, top, left + width, top + height))
    # Pillow gives (H, W) for grey
    return np.array(photo, np.uint8).reshape(height, width, preprocessing.channels)


def load_photos(
    paths: Sequence[Path], preprocessing: Preprocessing
) -> dict[str, NDArray[np.uint8]]:
    """Photo files as name -> (H, W, C); a name is the file's stem, numbered if it occurs again."""
    photos: dict[str, NDArray[np.uint8]] = {}
    for path in paths:
        photo = read_photo(path)
        try:
            pixels = fit(photo, preprocessing)
        except UsageError as error:
            raise _unreadable(path, error.message) from None
        name, count = path.stem, 1
        while name in photos:
            count += 1
            name = f"{path.stem}-{count}"
        photos[name] = pixels
    return photos


def sample_photos(
    preprocessing: Preprocessing, folder: str = SAMPLE_PHOTOS
) -> dict[str, NDArray[np.uint8]]:
    """The photos that come with the kit, as name -> (H, W, C); `folder` is one of its assets."""
    photos = {}
    for entry in sorted((_assets() / folder).iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith((".jpg", ".png")):
            with entry.open("rb") as file:
                photo = _decode(file, entry.name)
            photos[entry.name.rpartition(".")[0]] = fit(photo, preprocessing)
    return photos


@functools.cache
def class_names() -> tuple[str, ...]:
    """The 1000 classes of ImageNet-1k, in the order of a network's outputs."""
    text = (_assets() / "imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def _assets() -> Traversable:
    return importlib.resources.files("mobilevit_kit") / "assets"


def _unreadable(path: Path | str, reason: str, hint: str | None = None) -> UsageError:
    return UsageError(f"cannot read photo {path}: {reason}", hint)


def _decode(file: IO[bytes], name: str) -> Image.Image:
    try:
        # Pillow warns of large photos, which are welcome up to its limit, and of odd metadata
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_FORMATS) as photo:
                photo.load()
                return _rgb(ImageOps.exif_transpose(photo), name)
    except UsageError:
        raise
    except Image.DecompressionBombError:
        reason = f"it has more than {_MOST_PIXELS // 1_000_000} million pixels"
        raise _unreadable(name, reason, "shrink it first") from None
    except UnidentifiedImageError:
        formats = ", ".join(_FORMATS)
        reason = f"it is in none of the formats {formats}, or its header is damaged"
        raise _unreadable(name, reason) from None
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        detail = " ".join(str(error).split()) or type(error).__name__
        raise _unreadable(name, f"it is truncated or damaged ({detail})") from None


def _rgb(photo: Image.Image, name: str) -> Image.Image:
    unknown = _unreadable(name, f"its pixels ({photo.mode}) have no known meaning as RGB")
    if photo.mode == "F":
        raise unknown
    if photo.mode.startswith("I"):  # "I" or one of "I;16...": Pillow's convert would clip at 255
        wide = np.asarray(photo)
        if wide.min() < 0 or wide.max() > 65535:
            raise unknown
        narrow = ((wide.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        if "transparency" in photo.info:  # one value that stands for transparent
            narrow[wide == photo.info["transparency"]] = 255
        photo = Image.fromarray(narrow)
    if photo.has_transparency_data:
        photo = photo.convert("RGBA")
        white = Image.new("RGBA", photo.size, "white")
        photo = Image.alpha_composite(white, photo)
    return photo.convert("RGB")


def _covering_size(photo: Image.Image, preprocessing: Preprocessing) -> tuple[int, int]:
    """Height and width after resizing: one side fits `size` / `crop`, the other hangs over.

    The side that hangs over is rounded down for square sizes and to nearest for others: what
    timm does, and so what the published accuracies were measured with.
    """
    height, width = (math.floor(side / preprocessing.crop) for side in preprocessing.size)
    if height == width:
        short = min(photo.height, photo.width)
        return photo.height * height // short, photo.width * width // short
    scale = min(photo.height / height, photo.width / width)
    return round(photo.height / scale), round(photo.width / scale)
