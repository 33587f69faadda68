"""`mvkit rewrites`."""

from __future__ import annotations

import re

from converters.rewrite import REWRITES
from tests.mobilevit_kit.commands import Call


def test_the_table_has_them_in_their_order(mvkit: Call) -> None:
    result = mvkit("rewrites")
    assert (result.code, result.err) == (0, "")
    header, _, *rows = (re.split(r"\s{2,}", line.strip()) for line in result.out.splitlines())
    assert [row[0] for row in rows] == list(REWRITES)
    assert header[0] == "rewrite" and {len(row) for row in rows} == {len(header)}
    row = next(row for row in rows if row[0] == "depthwise_split")
    assert row[1] == REWRITES["depthwise_split"].summary
    assert row[2] == "tflite, executorch"


def test_json_has_the_same(mvkit: Call) -> None:
    entries = mvkit("rewrites", "--json").json
    assert [entry["name"] for entry in entries] == list(REWRITES)
    assert {tuple(entry) for entry in entries} == {("name", "summary", "targets", "gain")}
    assert entries[0]["targets"] == list(REWRITES[entries[0]["name"]].targets)


def test_quiet_is_quiet(mvkit: Call) -> None:
    result = mvkit("rewrites", "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")
