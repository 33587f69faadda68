"""`mvkit models`."""

from __future__ import annotations

import re

import pytest

from mobilevit_kit.models import list_models
from tests.mobilevit_kit.commands import Call


def test_the_table_holds_what_is_published(mvkit: Call) -> None:
    result = mvkit("models")
    assert (result.code, result.err) == (0, "")
    table = result.out.partition("trained weights")[0]
    header, _, *rows = (re.split(r"\s{2,}", line.strip()) for line in table.splitlines())
    assert header == ["model", "parameters", "M MACs", "input", "top-1 %", "paper"]
    assert [row[0] for row in rows] == list_models()
    row = next(row for row in rows if row[0] == "mobilevit_xs")
    assert row == ["mobilevit_xs", "2,317,848", "1,026", "256x256", "74.7", "arXiv 2110.02178"]


def test_json_holds_the_whole_cards(mvkit: Call) -> None:
    card = mvkit("models", "--json", "*t_xxs").json[0]
    assert card["name"] == "mobilevit_xxs" and card["input_size"] == [256, 256]
    assert card["published"]["parameters"] == 1_272_024
    assert card["published"]["hub"].startswith("timm/")
    assert card["preprocessing"]["channel_order"] == "rgb"


def test_quiet_is_quiet(mvkit: Call) -> None:
    result = mvkit("models", "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")


@pytest.mark.parametrize("pattern", ["resnet*", "mobilevit", "", "[", "[/]"])
def test_patterns_that_match_nothing(mvkit: Call, pattern: str) -> None:
    result = mvkit("models", pattern)
    assert (result.code, result.out) == (2, "")
    assert result.line == f"no model matches '{pattern}'; `mvkit models` lists them all"


def test_trained_weights_have_a_table_of_their_own(mvkit: Call) -> None:
    names = list_models("*@*")
    assert names
    _, found, table = mvkit("models").out.partition("trained weights")
    assert found and [line.split()[0] for line in table.splitlines()[2:]] == names
    result = mvkit("models", names[0], "--json")
    assert [card["name"] for card in result.json] == [names[0]]
    assert result.json[0]["trained"]["accuracy"] > 0.9 and result.json[0]["published"] is None
