"""Photos of every kind in, correct RGB out; pixels as timm's transform gives."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from converters.errors import UsageError
from converters.preprocessing import Preprocessing
from mobilevit_kit import images
from mobilevit_kit.images import class_names, fit, load_photos, read_photo, sample_photos
from tests.mobilevit_kit.pictures import colours, png, saved

SMALL = Preprocessing((32, 32))


# Photos that are read


@pytest.mark.parametrize("format_", ["png", "bmp", "tiff", "ppm", "gif"])
def test_lossless_formats_keep_every_pixel(tmp_path, format_):
    pixels = colours()
    if format_ == "gif":
        pixels = pixels // 128 * 255  # few enough colours for a palette
    photo = read_photo(saved(tmp_path / f"photo.{format_}", pixels))
    assert photo.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(photo), pixels)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "jp2", "mpo"])
def test_lossy_formats_stay_close(tmp_path, suffix):
    options = {"save_all": True} if suffix == "mpo" else {}
    photo = read_photo(saved(tmp_path / f"photo.{suffix}", colours(), quality=95, **options))
    assert np.abs(np.asarray(photo, np.int16) - colours()).max() < 24


def test_the_content_decides_and_not_the_name(tmp_path):
    path = saved(tmp_path / "photo.jpg", colours(), format="PNG")
    np.testing.assert_array_equal(np.asarray(read_photo(path)), colours())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    # How a camera held in each of the eight ways stores the upright scene
    stored_as = {
        1: lambda scene: scene,
        2: lambda scene: scene[:, ::-1],
        3: lambda scene: scene[::-1, ::-1],
        4: lambda scene: scene[::-1],
        5: lambda scene: scene.transpose(1, 0, 2),
        6: lambda scene: scene.transpose(1, 0, 2)[::-1],
        7: lambda scene: scene.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda scene: scene.transpose(1, 0, 2)[:, ::-1],
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(stored_as[orientation](colours()))
    options = {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
    path = saved(tmp_path / f"turned.{suffix}", stored, exif=exif, **options)
    upright = np.asarray(read_photo(path), np.int16)
    assert upright.shape == (48, 64, 3)
    assert np.abs(upright - colours()).max() < 12


def test_an_impossible_orientation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 99
    path = saved(tmp_path / "photo.png", colours(), exif=exif)
    np.testing.assert_array_equal(np.asarray(read_photo(path)), colours())


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk(tmp_path, suffix):
    options = {"quality": 95} if suffix == "jpg" else {}
    photo = read_photo(saved(tmp_path / f"print.{suffix}", colours(), "CMYK", **options))
    assert photo.mode == "RGB"
    assert np.abs(np.asarray(photo, np.int16) - colours()).max() < 16


def test_lab(tmp_path):
    Image.new("LAB", (4, 4), (255, 128, 128)).save(tmp_path / "print.tiff")
    assert np.asarray(read_photo(tmp_path / "print.tiff")).min() > 250


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path, suffix):
    wide = np.linspace(0, 65535, 48 * 64).round().astype(np.uint16).reshape(48, 64)
    photo = np.asarray(read_photo(saved(tmp_path / f"scan.{suffix}", wide)))
    assert photo.shape == (48, 64, 3)
    np.testing.assert_array_equal(photo, np.repeat(np.round(wide / 257)[..., None], 3, -1))


def test_16_bit_grey_is_turned_upright_too(tmp_path):
    wide = np.arange(6, dtype=np.uint16).reshape(2, 3) * 10_000
    exif = Image.Exif()
    exif[0x0112] = 3
    photo = read_photo(saved(tmp_path / "scan.png", wide, exif=exif))
    np.testing.assert_array_equal(np.asarray(photo)[..., 0], np.round(wide[::-1, ::-1] / 257))


def test_16_bit_grey_with_a_transparent_value(tmp_path):
    wide = np.array([[0, 30_000, 65_535]], np.uint16)
    photo = read_photo(saved(tmp_path / "scan.png", wide, transparency=30_000))
    assert np.asarray(photo)[0, :, 0].tolist() == [0, 255, 255]


def test_16_bit_colour(tmp_path):
    path = png(tmp_path / "scan.png", 2, colours().astype(np.uint16) * 257)
    np.testing.assert_array_equal(np.asarray(read_photo(path)), colours())


def test_16_bit_colour_with_alpha(tmp_path):
    rows = np.full((2, 2, 4), 65535, np.uint16)
    rows[..., 1:3] = 0
    rows[0, :, 3] = 0
    photo = np.asarray(read_photo(png(tmp_path / "scan.png", 6, rows)))
    assert photo[0, 0].tolist() == [255, 255, 255]
    assert photo[1, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_shown_over_white(tmp_path, mode):
    pixels = np.zeros((2, 3, 4), np.uint8)  # black that is absent, half there, there
    pixels[:, 1, 3] = 128
    pixels[:, 2, 3] = 255
    path = saved(tmp_path / "logo.png", pixels, mode)
    row = np.asarray(read_photo(path))[0, :, 0].tolist()
    assert row == [255, 127, 0]


def test_one_transparent_colour_of_a_palette_or_of_rgb(tmp_path):
    pixels = np.array([[[10, 20, 30], [200, 0, 0]]], np.uint8)
    palette = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    gone = palette.getpixel((0, 0))
    palette.save(tmp_path / "palette.png", transparency=gone)
    saved(tmp_path / "key.png", pixels, transparency=(10, 20, 30))
    for name in ("palette.png", "key.png"):
        photo = np.asarray(read_photo(tmp_path / name))
        assert photo[0].tolist() == [[255, 255, 255], [200, 0, 0]]


def test_grey_and_black_and_white(tmp_path):
    grey = np.asarray(read_photo(saved(tmp_path / "grey.jpg", colours(), "L")))
    assert np.ptp(grey, -1).max() == 0
    bits = np.asarray(read_photo(saved(tmp_path / "bits.png", colours(), "1")))
    assert set(np.unique(bits)) == {0, 255}


def test_a_photo_of_over_100_megapixels_passes_without_a_warning(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # so that 48 x 64 stands for it
    read_photo(saved(tmp_path / "large.png", colours()))
    assert not list(recwarn)


# Resizing and cropping


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("size", "crop"),
    [((256, 256), 0.9), ((224, 224), 0.875), ((64, 64), 1.0), ((192, 320), 0.9), ((97, 61), 0.95)],
)
def test_equals_the_evaluation_transform_of_timm(interpolation, size, crop):
    from tests.oracles import timm

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    theirs = timm.data.create_transform(
        (3, *size), interpolation=interpolation, mean=mean, std=std, crop_pct=crop
    )
    preprocessing = Preprocessing(size, crop, interpolation, mean, std)
    random = np.random.default_rng(0)
    for height, width in [(48, 64), (300, 451), (451, 300), (333, 333), (301, 97), *[size]]:
        photo = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        ours = preprocessing.normalise(fit(photo, preprocessing)[None])[0]
        np.testing.assert_allclose(ours, theirs(photo).numpy(), atol=1e-6, rtol=0)


def test_no_size_leaves_a_border():
    """A photo covers the crop whatever its size: no black edge where rounding falls short."""
    random = np.random.default_rng(0)
    for _ in range(200):
        height, width, rows, columns = random.integers(1, 60, 4)
        photo = Image.fromarray(np.full((height, width, 3), 255, np.uint8))
        preprocessing = Preprocessing((int(rows), int(columns)), float(random.uniform(0.3, 1)))
        assert fit(photo, preprocessing).min() == 255


def test_shrinking_is_antialiased():
    stripes = np.tile(np.array([0, 255], np.uint8)[None, :, None], (320, 160, 3))
    for interpolation in ("bilinear", "bicubic"):
        small = fit(Image.fromarray(stripes), Preprocessing((32, 32), 1.0, interpolation))
        assert np.abs(small[:, 2:-2].astype(int) - 127).max() < 18


def test_grey_has_one_channel(tmp_path):
    preprocessing = Preprocessing((40, 56), mean=(0.5,), std=(0.5,), channel_order="grey")
    photo = fit(Image.fromarray(colours()), preprocessing)
    assert photo.shape == (40, 56, 1) and photo.dtype == np.uint8
    grey_file = Image.fromarray(colours()).convert("L")
    np.testing.assert_array_equal(photo, fit(grey_file, preprocessing))
    assert preprocessing.normalise(photo[None]).shape == (1, 1, 40, 56)


def test_bgr_is_left_to_normalise():
    photo = Image.new("RGB", (8, 8), (255, 0, 0))
    preprocessing = Preprocessing((8, 8), channel_order="bgr")
    pixels = fit(photo, preprocessing)
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert preprocessing.normalise(pixels[None])[0, :, 0, 0].tolist() == [0, 0, 1]


def test_the_result_can_be_written_to():
    fit(Image.fromarray(colours()), SMALL)[0] = 0


def test_a_thread_of_a_photo_is_refused_before_memory_is_touched(tmp_path):
    path = saved(tmp_path / "thread.png", np.zeros((20_000, 1), np.uint8))
    with pytest.raises(UsageError) as caught:
        load_photos([path], Preprocessing((256, 256), 0.9))
    assert str(path) in str(caught.value) and "20000x1" in str(caught.value)


# Sets of photos, and names


def test_load_photos_names_every_photo(tmp_path):
    paths = []
    for name in ("a/cat.png", "b/cat.png", "c/cat.png", "d/cat-2.png", "e/dog.v2.png"):
        path = tmp_path / name
        path.parent.mkdir()
        paths.append(saved(path, colours()))
    photos = load_photos(paths, SMALL)
    assert list(photos) == ["cat", "cat-2", "cat-3", "cat-2-2", "dog.v2"]
    assert all(photo.shape == (32, 32, 3) for photo in photos.values())
    assert load_photos([], SMALL) == {}


def test_sample_photos():
    photos = sample_photos(Preprocessing((256, 256), 0.9))
    assert list(photos) == ["astronaut", "chelsea", "coffee", "rocket"]
    for photo in photos.values():
        assert photo.shape == (256, 256, 3)
        assert photo.std() > 20
    assert sample_photos(Preprocessing((32, 48), channel_order="grey"))["coffee"].shape == (
        32,
        48,
        1,
    )


def test_sample_photos_are_small_plain_and_licensed():
    folder = images._assets() / "photos"
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".jpg")]
    assert sum(len(entry.read_bytes()) for entry in files) < 400_000
    licences = (folder / "LICENCES.md").read_text()
    for entry in files:
        assert f"`{entry.name}`" in licences
        with entry.open("rb") as file, Image.open(file) as photo:
            assert photo.mode == "RGB" and not photo.getexif()


def test_class_names():
    names = class_names()
    assert len(names) == 1000
    assert len({name.lower() for name in names}) == 1000
    assert all(name == name.strip() and name.isascii() and name for name in names)
    assert (names[0], names[281], names[967], names[999]) == (
        "tench",
        "tabby",
        "espresso",
        "toilet tissue",
    )


def test_class_names_follow_the_order_of_timm():
    from tests.oracles import timm

    facts = timm.data.ImageNetInfo("imagenet-1k")
    for index, name in enumerate(class_names()):
        lemmas = facts.index_to_description(index, detailed=False).split(", ")
        assert name.removesuffix(" (bird)").removesuffix(" (machine)") in lemmas


def test_no_torch_is_imported():
    code = "import sys, mobilevit_kit.images; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
