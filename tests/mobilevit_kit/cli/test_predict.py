"""`mvkit predict`: a converted file or a reference model, on a user's photos."""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path

import numpy as np
import pytest

from mobilevit_kit.images import class_names
from mobilevit_kit.models import list_models
from mobilevit_kit.predict import predict_file, predict_model
from mobilevit_kit.source import SourceRequest
from tests.mobilevit_kit.commands import NET_INPUT, NET_RECIPE, Call, contents

ASSETS = Path(str(importlib.resources.files("mobilevit_kit") / "assets"))
COFFEE = ASSETS / "photos" / "coffee.jpg"
CHELSEA = ASSETS / "photos" / "chelsea.jpg"


def test_a_file_and_its_source_see_the_same(reference_artifact: Path) -> None:
    """The same loud weights at the same size, through TFLite and through PyTorch."""
    file = predict_file(reference_artifact, [COFFEE, CHELSEA])
    model = predict_model(SourceRequest("mobilevit_xxs", input_size=(64, 64)), [COFFEE, CHELSEA])
    assert file.weights == model.weights
    assert list(file.photos) == list(model.photos) == ["coffee", "chelsea"]
    for name in file.photos:
        ours, theirs = file.photos[name], model.photos[name]
        assert [guess.label for guess in ours] == [guess.label for guess in theirs]
        np.testing.assert_allclose(
            [guess.probability for guess in ours],
            [guess.probability for guess in theirs],
            rtol=1e-4,
        )
    assert file.photos["coffee"] != file.photos["chelsea"]


def test_a_file_needs_no_torch(
    mvkit_process: Call, reference_artifact: Path, tmp_path: Path
) -> None:
    result = mvkit_process(
        "predict", reference_artifact, COFFEE, "--json", cwd=tmp_path,
        absent=("torch", "litert_torch"),
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    assert result.json["weights"].startswith("seeded random weights (seed 0): not a trained")
    guesses = result.json["photos"]["coffee"]
    probabilities = [guess["probability"] for guess in guesses]
    assert len(guesses) == 5 and probabilities == sorted(probabilities, reverse=True)
    assert {guess["label"] for guess in guesses} <= set(class_names())
    assert 0 < sum(probabilities) <= 1


def test_the_table_of_a_model(mvkit: Call) -> None:
    result = mvkit("predict", "mobilevit_xxs", COFFEE, CHELSEA)
    assert (result.code, result.err) == (0, "")
    tables = result.out.split("coffee")[1].split("chelsea")
    assert len(tables) == 2
    for table in tables:
        rows = re.findall(r"^(.+?)\s+(█+)\s+(\d+\.\d)%$", table, re.MULTILINE)
        assert len(rows) == 5 and {label for label, _, _ in rows} <= set(class_names())
    assert result.out.splitlines()[-1].startswith("weights  seeded random weights (seed 0): not a")
    result = mvkit("predict", "mobilevit_xxs", COFFEE, "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_trained_weights_know_their_photos(mvkit: Call) -> None:
    digits = sorted((ASSETS / "digits").glob("*.png"))
    result = mvkit("predict", list_models("*@digits")[0], *digits, "--json")
    assert (result.code, result.err) == (0, "")
    right = [name == f"digit-{top[0]['label']}" for name, top in result.json["photos"].items()]
    assert sum(right) >= 9


def test_names_of_photos_may_repeat_or_hold_brackets(mvkit: Call, user_copy: Path) -> None:
    Path("more").mkdir()
    for name in ("coffee.jpg", "[bold] :car: [x].jpg"):
        Path("more", name).write_bytes(COFFEE.read_bytes())
    photos = (COFFEE, "more/coffee.jpg", "more/[bold] :car: [x].jpg")
    result = mvkit("predict", user_copy, *photos)
    assert (result.code, result.err) == (0, "")
    for name in ("coffee ", "coffee-2 ", "[bold] :car: [x] "):
        assert f"\n{name}" in f"\n{result.out}"
    assert "class 3" in result.out  # the user's network came without names
    result = mvkit("predict", user_copy, *photos, "--json")
    assert result.json["photos"]["coffee"] == result.json["photos"]["coffee-2"]


def test_a_terminal_without_the_bars_character(
    mvkit_process: Call, user_artifact: Path, tmp_path: Path
) -> None:
    result = mvkit_process(
        "predict", user_artifact, COFFEE, cwd=tmp_path, env={"PYTHONIOENCODING": "latin-1"}
    )
    assert (result.code, result.err) == (0, "")
    assert " ???" in result.out


@pytest.mark.parametrize("model", ["mvkit-out/net-make-fp32.tflite", "mobilevit_xxs"])
@pytest.mark.parametrize(
    ("photo", "line"),
    [
        ("missing.jpg", "cannot read photo missing.jpg: no such file"),
        ("empty.jpg", "cannot read photo empty.jpg: it is empty"),
        ("text.jpg", "cannot read photo text.jpg: it is in none of the formats JPEG, "),
        ("truncated.jpg", "cannot read photo truncated.jpg: it is truncated or damaged"),
        ("mvkit-out", "cannot read photo mvkit-out: it is a directory"),
    ],
)
def test_photos_that_are_none(
    mvkit: Call, user_copy: Path, model: str, photo: str, line: str
) -> None:
    Path("empty.jpg").touch()
    Path("text.jpg").write_text("a cat\n")
    Path("truncated.jpg").write_bytes(COFFEE.read_bytes()[:20_000])
    before = contents(Path.cwd())
    result = mvkit("predict", model, COFFEE, photo)
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith(line)
    assert contents(Path.cwd()) == before


def test_a_photo_is_refused_before_torch_is_missed(mvkit_process: Call, tmp_path: Path) -> None:
    """And without torch, a model is refused in one line."""
    call = ("predict", "mobilevit_xxs")
    result = mvkit_process(*call, "missing.jpg", cwd=tmp_path, absent=("torch",))
    assert result.code == 2 and result.line.startswith("cannot read photo missing.jpg")
    result = mvkit_process(*call, COFFEE, cwd=tmp_path, absent=("torch",))
    assert (result.code, result.out) == (2, "")
    assert result.line == (
        "torch is not installed; install it with: pip install 'mobilevit-kit[models]'"
    )


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["mobilevit_xxs"], "Missing argument 'PHOTO...'."),
        (["mobilevit_xss", COFFEE], "unknown model 'mobilevit_xss'; did you mean mobilevit_x"),
        (["missing.tflite", COFFEE], "missing.tflite: no such file"),
        (["net.py:make", COFFEE], "net.py:make is a network of your own; convert it, then"),
        (["out/net-fp32", COFFEE], "out/net-fp32: no such file"),
        (["net.py", COFFEE], "net.py: its manifest net.py.json is missing"),
        (["mobilevit_xxs", COFFEE, "--weights", "w.pt"], "the weights file w.pt does not exist"),
        (["mobilevit_xxs", COFFEE, "--weights", "w.txt"], "weights must be a .safetensors, .pt "),
    ],
)
def test_mistakes(mvkit: Call, workplace: Path, args: list[str], line: str) -> None:
    result = mvkit("predict", *args)
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith(line)


def test_files_that_take_no_photo_or_bring_their_weights(
    mvkit: Call, workplace: Path, quick_conversion: None
) -> None:
    call = ("convert", "net.py:make", "--target", "tflite", *NET_INPUT, "--no-verify")
    assert mvkit(*call).code == 0
    file = "mvkit-out/net-make-fp32.tflite"
    result = mvkit("predict", file, COFFEE)
    assert (result.code, result.out) == (2, "")
    assert result.line == f"{file} does not take a photo: its manifest has no preprocessing"
    result = mvkit("predict", file, COFFEE, "--weights", "loud")
    assert result.code == 2
    assert result.line == f"--weights is for reference models; {file} holds its own"


def test_a_file_that_is_no_classifier(mvkit: Call, workplace: Path) -> None:
    Path("maps.py").write_text("import torch\nmake = lambda: torch.nn.Conv2d(3, 4, 3)\n")
    call = ("convert", "maps.py:make", "--target", "tflite", *NET_INPUT, *NET_RECIPE)
    assert mvkit(*call).code == 0
    result = mvkit("predict", "mvkit-out/maps-make-fp32.tflite", COFFEE)
    assert (result.code, result.out) == (2, "")
    assert "is no classifier: its output has shape (1, 4, 30, 46)" in result.line
