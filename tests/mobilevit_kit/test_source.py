"""Requests: how they are read, refused, identified, written into a manifest and built."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from converters.errors import MissingExtraError, UsageError
from converters.preprocessing import Preprocessing
from converters.recipe import Recipe
from mobilevit_kit import source
from mobilevit_kit.jobs import Job, run_job
from mobilevit_kit.source import (
    InputText,
    SourceRequest,
    build_source,
    check_request,
    identity,
    parse_input,
    preprocessing_of,
    rebuild_source,
    user_identity,
)
from tests.mobilevit_kit.commands import own

NET_INPUT = own().inputs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1x3x192x320", InputText(None, (1, 3, 192, 320), "float32")),
        ("ids=1x16:int64", InputText("ids", (1, 16), "int64")),
        ("mask=4:bool", InputText("mask", (4,), "bool")),
        ("007x2:uint8", InputText(None, (7, 2), "uint8")),
    ],
)
def test_reading_an_input(text: str, expected: InputText) -> None:
    assert parse_input(text) == expected
    assert parse_input(source._write_input(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "whole numbers above 0"),
        ("1x", "whole numbers above 0"),
        ("1x0x3", "whole numbers above 0"),
        ("1x-3", "whole numbers above 0"),
        ("1,3,224,224", "whole numbers above 0"),
        ("1x3.5", "whole numbers above 0"),
        ("1×3×224×224", "whole numbers above 0"),
        ("1x²", "whole numbers above 0"),
        ("ids=", "whole numbers above 0"),
        ("1x3:", None),
        ("1x3:float", "unknown type 'float'; one of float32, "),
        ("1x3:int64:int64", "unknown type 'int64:int64'"),
        ("my input=1x3", "'my input' is not a name"),
        ("a=b=1x3", "'a=b' is not a name"),
        ("1x" + "9" * 5000, "too large to convert"),
    ],
)
def test_inputs_that_are_none(text: str, message: str | None) -> None:
    if message is None:
        assert parse_input(text).dtype == "float32"
        return
    with pytest.raises(UsageError, match=message) as caught:
        parse_input(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": (1, 1)}, "input size 1x1 is too small: mobilevit_xs needs at least 32x32"),
        ({"input_size": (31, 64)}, "31x64 is too small"),
        ({"input_size": (100_000, 100_000)}, "100000x100000 is too large: more than 4 million"),
        ({"batch": 0}, "--batch must be 1 or more, not 0"),
        ({"batch": 10**9}, "too large"),
        ({"num_classes": -1}, "--num-classes must be 0 or more, not -1"),
        ({"model": "mobilevit_xxs@digits", "weights": "timm"}, "has weights of its own"),
        ({"num_classes": 10**9}, "--num-classes must be 100000 or less"),
        ({"in_channels": 0}, "--in-channels must be 1 or more, not 0"),
        ({"in_channels": 10**9}, "too large"),
        ({"seed": -1}, "--seed must be from 0 to 4294967295, not -1"),
        ({"seed": 2**32}, "--seed must be from 0"),
        ({"inputs": NET_INPUT}, "--input is for your own networks; .*; use --input-size"),
    ],
)
def test_reference_models_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_request(SourceRequest(**{"model": "mobilevit_xs", **options}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ()}, "net.py:make needs to know its inputs; give --input 1x3x224x224"),
        ({"input_size": (64, 64)}, "--input-size is for reference models; .*; use --input"),
        ({"batch": 2}, "--batch is for reference models"),
        ({"num_classes": 10}, "--num-classes is for reference models"),
        ({"in_channels": 1}, "--in-channels is for reference models"),
        ({"weights": "timm"}, "--weights timm is for reference models; .*; give a file, or loud"),
        ({"inputs": (parse_input("100000x100000"),)}, "100000x100000:float32 is too large"),
        ({"inputs": (parse_input("a=1"), parse_input("1"))}, "every --input a name, or none"),
        ({"inputs": (parse_input("a=1"), parse_input("a=2"))}, "--input a is given twice"),
        ({"seed": -1}, "--seed must be"),
    ],
)
def test_own_networks_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_request(own(**options))


def test_preprocessing_follows_size_and_channels() -> None:
    recipe = preprocessing_of(SourceRequest("mobilevit_xs", input_size=(64, 96)))
    assert recipe is not None and recipe.size == (64, 96) and recipe.channel_order == "rgb"
    grey = preprocessing_of(SourceRequest("mobilevit_xs", in_channels=1))
    assert grey is not None and grey.channel_order == "grey" and len(grey.mean) == 1
    assert preprocessing_of(SourceRequest("mobilevit_xs", in_channels=5)) is None
    users = Preprocessing((64, 96), crop=0.5)
    assert preprocessing_of(SourceRequest("mobilevit_xs", preprocessing=users)) is users


def test_identity_changes_with_all_that_changes_the_network(tmp_path: Path) -> None:
    base = SourceRequest("mobilevit_xxs")
    weights = tmp_path / "w.pt"
    torch.save({"a": torch.zeros(2)}, weights)
    requests = [
        base,
        SourceRequest("mobilevit_xs"),
        replace(base, weights="timm"),
        replace(base, weights=str(weights)),
        replace(base, seed=1),
        replace(base, num_classes=10),
        replace(base, in_channels=1),
        replace(base, input_size=(64, 64)),
        replace(base, batch=2),
        replace(base, preprocessing=Preprocessing((256, 256))),
    ]
    identities = [str(identity(request)) for request in requests]
    assert len(set(identities)) == len(requests)
    assert identity(base) == identity(replace(base, weights="loud"))
    torch.save({"a": torch.ones(2)}, weights)
    assert str(identity(requests[3])) not in identities


@pytest.mark.parametrize("request_", [SourceRequest("mobilevit_xs"), own()], ids=["model", "own"])
@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("missing.pt", "missing.pt does not exist"),
        ("folder.pt", "folder.pt is a folder"),
        ("weights.onnx", "must be a .safetensors, .pt or .pth file, not 'weights.onnx'"),
    ],
)
def test_weight_files_that_cannot_be_read(
    workplace: Path, request_: SourceRequest, file: str, message: str
) -> None:
    Path("folder.pt").mkdir()
    with pytest.raises(UsageError, match=message):
        (user_identity if request_.is_factory else identity)(replace(request_, weights=file))


def test_own_identity_changes_with_code_weights_and_seed(workplace: Path) -> None:
    def digest(**options: Any) -> str:
        source._user_module.cache_clear()
        return str(user_identity(own(**options)))

    first = digest()
    assert digest() == first
    found = {first, digest(seed=1), digest(attribute="Net"), digest(weights="loud")}
    found.add(digest(inputs=(InputText("image", (1, 3, 32, 48)),)))
    found.add(digest(preprocessing=Preprocessing((32, 48))))
    (workplace / "net.py").write_text((workplace / "net.py").read_text() + "\n# changed\n")
    found.add(digest())
    assert len(found) == 7


def test_weights_that_a_factory_reads_belong_to_its_identity(workplace: Path) -> None:
    (workplace / "trained.py").write_text(
        "import torch\n"
        "def make():\n"
        "    layer = torch.nn.Linear(2, 3)\n"
        "    layer.load_state_dict(torch.load('state.pt'))\n"
        "    return layer\n"
    )
    request = SourceRequest("trained.py:make", inputs=(InputText(None, (1, 2)),))
    found = []
    for _ in range(2):
        torch.save(nn.Linear(2, 3).state_dict(), "state.pt")
        source._user_module.cache_clear()
        found.append(user_identity(request))
    assert found[0] != found[1]


def test_building_a_reference_model() -> None:
    built = build_source(SourceRequest("mobilevit_xxs", input_size=(32, 64), batch=2))
    assert built.examples[0].shape == (2, 3, 32, 64)
    assert (built.input_names, built.output_names) == (("image",), ("logits",))
    assert built.labels is not None and len(built.labels) == 1000
    assert len(built.photos) == 4
    assert all(photo.shape == (32, 64, 3) for photo in built.photos.values())
    assert built.origin.weights.kind == "loud"


def test_without_a_classifier_there_are_no_labels() -> None:
    built = build_source(SourceRequest("mobilevit_xxs", num_classes=0, in_channels=5))
    assert (built.output_names, built.labels, built.photos) == (("features",), None, {})


def two(*inputs: str) -> SourceRequest:
    return SourceRequest("two.py:make", inputs=tuple(map(parse_input, inputs)))


@pytest.fixture
def two_inputs(workplace: Path) -> None:
    (workplace / "two.py").write_text(
        "import torch\n"
        "class make(torch.nn.Module):\n"
        "    def forward(self, image, ids):\n"
        "        return image.mean() + ids.sum()\n"
    )


def test_inputs_by_position_and_by_name(two_inputs: None) -> None:
    built = build_source(two("1x2", "3:int64"))
    assert isinstance(built.examples, tuple) and built.input_names is None
    assert [tensor.dtype for tensor in built.examples] == [torch.float32, torch.int64]
    built = build_source(two("ids=3:int64", "image=1x2"))
    assert isinstance(built.examples, dict) and list(built.examples) == ["ids", "image"]
    # Names that forward() does not have only name the file's inputs, in order.
    built = build_source(two("pixels=1x2", "words=3:int64"))
    assert isinstance(built.examples, tuple) and built.input_names == ("pixels", "words")


def test_names_half_of_which_are_arguments_are_a_mistake(two_inputs: None) -> None:
    with pytest.raises(UsageError, match=r"forward\(\) of two.py:make has no .* 'idz'; did you me"):
        build_source(two("image=1x2", "idz=3:int64"))
    with pytest.raises(UsageError, match="has no argument 'words'; it takes image, ids"):
        build_source(two("words=3:int64", "image=1x2"))


def test_own_networks_may_have_loud_weights_or_a_file(workplace: Path) -> None:
    own_weights = build_source(own()).origin.weights
    assert own_weights.kind == "module"
    loud = build_source(own(weights="loud"))
    assert loud.origin.weights.kind == "loud" and loud.origin.weights.seed == 0
    torch.save(loud.module.state_dict(), "w.pth")
    source._user_module.cache_clear()
    from_file = build_source(own(weights="w.pth"))
    assert from_file.origin.weights.kind == "file" and from_file.origin.weights.origin == "w.pth"
    assert torch.equal(
        from_file.module.state_dict()["fc.bias"], loud.module.state_dict()["fc.bias"]
    )


def test_photos_come_with_a_preprocessing(workplace: Path) -> None:
    assert build_source(own()).photos == {}
    photos = build_source(own(preprocessing=Preprocessing((32, 48)))).photos
    assert {photo.shape for photo in photos.values()} == {(32, 48, 3)}


@pytest.mark.parametrize(
    "request_",
    [
        SourceRequest("mobilevit_xs", "timm", 3, 10, 1, (64, 96), 2),
        SourceRequest("a.py:b", inputs=(InputText("ids", (1, 16), "int64"), InputText("x", (2,)))),
    ],
)
def test_a_request_survives_the_manifest(request_: SourceRequest) -> None:
    recipe = Preprocessing((64, 96))
    options = replace(request_, preprocessing=recipe).to_options()
    assert SourceRequest.from_options(options, recipe) == replace(request_, preprocessing=recipe)


def converted(request_: SourceRequest) -> Path:
    outcome = run_job(Job(request_, Recipe("tflite"), Path("out"), verify=False))
    assert outcome.artifact is not None
    return outcome.artifact.path


def test_building_a_source_again(workplace: Path, quick_conversion: None) -> None:
    recipe = Preprocessing((32, 48), mean=(0.1, 0.2, 0.3))
    file = converted(own(seed=3, preprocessing=recipe))
    first = build_source(own(seed=3, preprocessing=recipe))
    source._user_module.cache_clear()
    again = rebuild_source(file)
    assert again.origin == first.origin and again.preprocessing == recipe
    with pytest.raises(UsageError, match=r"was made with the weights .* came with, from no file"):
        rebuild_source(file, "w.pt")


def test_building_a_source_again_from_a_weights_file(
    workplace: Path, quick_conversion: None
) -> None:
    net = build_source(own(weights="loud")).module
    torch.save(net.state_dict(), "w.pt")
    file = converted(own(weights="w.pt"))
    assert rebuild_source(file).origin.weights.origin == "w.pt"
    Path("w.pt").rename("moved.pt")
    with pytest.raises(UsageError, match=r"w\.pt does not exist"):
        rebuild_source(file)
    assert rebuild_source(file, "moved.pt").origin.weights.origin == "moved.pt"
    with torch.no_grad():
        net.fc.bias += 1  # type: ignore[union-attr, operator]
    torch.save(net.state_dict(), "moved.pt")
    with pytest.raises(UsageError, match=r"moved.pt is not the weights file that .*\(SHA-256\)"):
        rebuild_source(file, "moved.pt")


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"mobilevit-kit\[models\]"):
        build_source(SourceRequest("mobilevit_xs"))
