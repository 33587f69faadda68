"""Preprocessing from files and flags: the same values, and the same refusals in one line."""

import json
from dataclasses import replace

import pytest

from converters.errors import UsageError
from converters.preprocessing import Preprocessing
from mobilevit_kit.preprocessing_file import preprocessing_from_flags, read_preprocessing

SIZE = (192, 320)
IMAGENET = Preprocessing(
    SIZE, 0.875, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bgr"
)
TOML = """
crop = 0.875
interpolation = "bilinear"
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
channel_order = "bgr"
"""


def refusal(path) -> str:
    with pytest.raises(UsageError) as caught:
        read_preprocessing(path, SIZE)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 600
    return message


def test_toml(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TOML)
    assert read_preprocessing(path, SIZE) == IMAGENET


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_json(tmp_path, encoding):
    path = tmp_path / "mine.JSON"
    keys = {
        "crop": 0.875,
        "interpolation": "bilinear",
        "mean": IMAGENET.mean,
        "std": IMAGENET.std,
        "channel_order": "bgr",
    }
    path.write_text(json.dumps(keys), encoding=encoding)
    assert read_preprocessing(path, SIZE) == IMAGENET


def test_an_empty_table_is_the_default(tmp_path):
    path = tmp_path / "mine.toml"
    path.touch()
    assert read_preprocessing(path, SIZE) == Preprocessing(SIZE)


def test_whole_numbers_become_floats(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("crop = 1\nstd = [1, 2, 1]\n")
    result = read_preprocessing(path, SIZE)
    assert result == Preprocessing(SIZE, std=(1.0, 2.0, 1.0))
    assert isinstance(result.crop, float) and isinstance(result.std[1], float)


def test_grey_has_one_mean_and_one_std(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('channel_order = "grey"\n')
    grey = Preprocessing(SIZE, mean=(0.0,), std=(1.0,), channel_order="grey")
    assert read_preprocessing(path, SIZE) == grey
    path.write_text('channel_order = "grey"\nmean = [0.5]\n')
    assert read_preprocessing(path, SIZE) == replace(grey, mean=(0.5,))
    path.write_text('channel_order = "grey"\nmean = [0.5, 0.5, 0.5]\n')
    assert "mean must be a list of 1 number from" in refusal(path)


def test_flags():
    flags = preprocessing_from_flags(
        SIZE,
        crop=0.875,
        interpolation="bilinear",
        mean="0.485,0.456,0.406",
        std="0.229, 0.224, 0.225",
        channel_order="bgr",
    )
    assert flags == IMAGENET
    assert preprocessing_from_flags(SIZE, crop=0.5) == Preprocessing(SIZE, 0.5)


def test_no_flags_is_no_preprocessing():
    assert preprocessing_from_flags(SIZE) is None


WRONG = [
    ("crop", "0"),
    ("crop", "0.001"),
    ("crop", "-0.5"),
    ("crop", "1.01"),
    ("crop", "nan"),
    ("crop", "inf"),
    ("crop", "true"),
    ("crop", '"0.9"'),
    ("crop", "[0.9]"),
    ("crop", "1" + "0" * 400),
    ("interpolation", '"lanczos"'),
    ("interpolation", '"BICUBIC"'),
    ("interpolation", "3"),
    ("interpolation", '["bicubic"]'),
    ("channel_order", '"rgba"'),
    ("channel_order", "false"),
    ("mean", "0.5"),
    ("mean", "[]"),
    ("mean", "[0.5, 0.5]"),
    ("mean", "[0.5, 0.5, 0.5, 0.5]"),
    ("mean", '"0.5"'),
    ("mean", '"abc"'),
    ("mean", '[0.5, "0.5", 0.5]'),
    ("mean", "[0.5, true, 0.5]"),
    ("mean", "[0.5, nan, 0.5]"),
    ("mean", "[0.5, -inf, 0.5]"),
    ("mean", "[123.675, 116.28, 103.53]"),
    ("mean", "{ r = 0.5, g = 0.5, b = 0.5 }"),
    ("std", "[0.2, 0, 0.2]"),
    ("std", "[0.2, 1e-50, 0.2]"),
    ("std", "[0.2, -0.2, 0.2]"),
    ("std", "[0.2, inf, 0.2]"),
    ("std", "[0.2, 0.2]"),
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_wrong_value_is_named(tmp_path, key, value):
    path = tmp_path / "mine.toml"
    path.write_text(f"{key} = {value}\n")
    assert f"{path}: {key} must be " in refusal(path)


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "null", "[0.1, NaN, 0.1]", "{}"])
@pytest.mark.parametrize("key", ["crop", "mean", "std"])
def test_json_has_its_own_ways_to_be_wrong(tmp_path, key, value):
    path = tmp_path / "mine.json"
    path.write_text(f'{{"{key}": {value}}}')
    assert f"{path}: {key} must be " in refusal(path)


def test_values_for_255_are_recognised(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("mean = [123.675, 116.28, 103.53]\n")
    assert refusal(path).endswith("pixels are in 0..1 here, not in 0..255")


def test_an_unknown_key_brings_a_suggestion(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("crop_ = 0.9\n")
    assert refusal(path).endswith("'crop_' is not a key of preprocessing; did you mean crop?")
    path.write_text('"wei\\nrd" = 1\n')
    assert refusal(path).endswith("the keys are crop, interpolation, mean, std, channel_order")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"crop": 2.0}, "--crop must be a number from 0.01 to 1, not 2.0"),
        ({"interpolation": "area"}, "--interpolation must be one of nearest, bilinear, bicubic"),
        ({"channel_order": "gray"}, "--channel-order must be one of rgb, bgr, grey, not 'gray'"),
        ({"mean": "0.5"}, "--mean must be a list of 3 numbers"),
        ({"mean": "0.5,0.5,half"}, "'half'"),
        ({"mean": ""}, "--mean must be"),
        ({"mean": "0.5,0.5,nan"}, "nan"),
        ({"std": "0.2,0.2,0"}, "--std must be a list of 3 numbers from 1e-06 to 1e+06"),
        ({"std": "0.2;0.2;0.2"}, "--std must be"),
    ],
)
def test_flags_are_refused_in_the_same_words(flags, message):
    with pytest.raises(UsageError) as caught:
        preprocessing_from_flags(SIZE, **flags)
    assert message in str(caught.value)


@pytest.mark.parametrize("suffix", ["toml", "json"])
@pytest.mark.parametrize("text", ["crop = = 1", "{", "crop = 1\ncrop = 1\n[", "\0", '{"a": 1} x'])
def test_syntax_errors(tmp_path, suffix, text):
    path = tmp_path / f"mine.{suffix}"
    path.write_text(text)
    assert f"is not valid {suffix.upper()}: " in refusal(path)


def test_files_that_cannot_be_read(tmp_path):
    assert "no such file" in refusal(tmp_path / "absent.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "is not a file" in refusal(tmp_path / "folder.toml")
    (tmp_path / "mine.yaml").write_text("crop: 1")
    assert ".toml or .json" in refusal(tmp_path / "mine.yaml")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    assert "not text in UTF-8" in refusal(tmp_path / "binary.json")
    (tmp_path / "empty.json").touch()
    assert "not valid JSON" in refusal(tmp_path / "empty.json")
    (tmp_path / "list.json").write_text("[1, 2]")
    assert "must hold an object" in refusal(tmp_path / "list.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert "nested too deeply" in refusal(tmp_path / "deep.json")
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(2_000_000)
    assert "too large" in refusal(tmp_path / "large.toml")
