"""`mvkit verify --bisect`: where a user's file differs from its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from converters.route import Route
from converters.targets import tflite
from mobilevit_kit import source
from tests.mobilevit_kit.commands import NET_INPUT, Call


@pytest.mark.slow  # runs the file value by value
def test_a_sound_file(user_artifact: Path, mvkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(user_artifact.parents[1])
    result = mvkit("verify", user_artifact, "--bisect")
    assert (result.code, result.err) == (0, "")
    assert "nothing diverges" in result.out and " Net " in result.out
    document = mvkit("verify", user_artifact, "--bisect", "--json").json
    assert document["verdict"] == "pass" and document["fault"] is None
    assert [row["module"] for row in document["growth"]] == [""]  # the rest is fused


@pytest.mark.slow  # a real conversion
def test_a_faulty_layer_is_named(
    mvkit: Call, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = tflite.save

    def save_another(form: Any, path: Path, recipe: Any) -> Route:
        with torch.no_grad():
            form.module.source.fc.weight[3, 2] += 0.1
        return save(form, path, recipe)

    monkeypatch.setattr(tflite, "save", save_another)
    result = mvkit("convert", "net.py:instance", *NET_INPUT, "--target", "tflite")
    assert result.code == 1
    assert "next     mvkit verify mvkit-out/net-instance-fp32-FAILED.tflite --bisect" in result.out
    source._user_module.cache_clear()  # it holds the network that was changed
    result = mvkit("verify", "mvkit-out/net-instance-fp32-FAILED.tflite", "--bisect")
    assert (result.code, result.err) == (1, "")
    assert "first block     fc (Linear)" in result.out
    assert "first operator  FULLY_CONNECTED" in result.out


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["a.tflite", "b.tflite"], "--bisect takes one file at a time"),
        (["a.tflite", "--runtime", "evaluator"], "--bisect looks at values as the evaluator has"),
        (["nothing.tflite"], "nothing.tflite: no such file"),
    ],
)
def test_what_is_refused(args: list[str], line: str, mvkit: Call, workplace: Path) -> None:
    result = mvkit("verify", "--bisect", *args)
    assert result.code == 2 and line in result.line
