"""`mvkit info`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilevit_kit.models import list_models, model_card
from tests.mobilevit_kit.commands import Call


@pytest.mark.parametrize("model", list_models())
def test_stages_add_up_to_the_published_figures(mvkit: Call, model: str) -> None:
    published = model_card(model).published
    assert published is not None
    result = mvkit("info", model, "--json")
    assert (result.code, result.err) == (0, "")
    stages = result.json["stages"]
    assert sum(stage["parameters"] for stage in stages) == published.parameters
    assert round(sum(stage["macs"] for stage in stages) / 1e6) == published.macs_millions
    assert stages[-1]["shape"] == [1000]


def test_json_holds_card_and_configuration(mvkit: Call) -> None:
    document = mvkit("info", "mobilevit_s", "--json").json
    assert document["name"] == "mobilevit_s" and document["paper"] == "arXiv 2110.02178"
    assert document["config"]["widths"] == [32, 64, 96, 128, 160]
    assert document["published"]["weights_licence"] and document["trained"] is None


def test_trained_weights(mvkit: Call) -> None:
    name = list_models("*@*")[0]
    document = mvkit("info", name, "--json").json
    assert document["trained"]["labels"] and document["published"] is None
    assert document["stages"][-1]["shape"] == [document["num_classes"]]
    result = mvkit("info", name)
    assert result.code == 0 and "% on held-out data" in result.out


def test_the_page(mvkit: Call) -> None:
    result = mvkit("info", "mobilevit_xxs")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].split() == ["model", "mobilevit_xxs"]
    assert lines[3].split()[:2] == ["checkpoint", "timm/mobilevit_xxs.cvnets_in1k,"]
    assert "arXiv 2110.02178" in lines[1]
    for label in ("source", "checkpoint", "top-1", "configuration"):
        assert any(line.startswith(label) for line in lines)
    assert ["stages.4", "80x8x8", "433,440", "29.6"] in [line.split() for line in lines]
    assert lines[-1].split() == ["total", "1,272,024", "407.4"]


def test_another_size(mvkit: Call) -> None:
    stages = mvkit("info", "mobilevit_xxs", "--input-size", "192x320", "--json").json["stages"]
    assert stages[0]["shape"] == [16, 96, 160]
    assert sum(stage["parameters"] for stage in stages) == 1_272_024


def test_quiet_is_quiet(mvkit: Call) -> None:
    result = mvkit("info", "mobilevit_xxs", "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["mobilevit_xss"], "unknown model 'mobilevit_xss'; did you mean mobilevit_xs?"),
        (["alexnet"], "unknown model 'alexnet'; `mvkit models` lists them"),
        (["mobilevit_xs", "--input-size", "1x1"], "input size 1x1 is too small: mobilevit_xs "),
        (["mobilevit_xs", "--input-size", "100000x100000"], "input size 100000x100000 "),
    ],
)
def test_mistakes(mvkit: Call, args: list[str], line: str) -> None:
    result = mvkit("info", *args)
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith(line)


def test_without_torch(mvkit_process: Call, tmp_path: Path) -> None:
    result = mvkit_process("info", "mobilevit_xs", cwd=tmp_path, absent=("torch",))
    assert (result.code, result.out) == (2, "")
    assert result.line == (
        "torch is not installed; install it with: pip install 'mobilevit-kit[models]'"
    )
