"""What is printed, in the form that reads well or is made fast."""

from __future__ import annotations

import json

import pytest

from mobilevit_kit.cli.console import print_json


@pytest.mark.parametrize(("count", "lines"), [(0, 1), (100, 502), (101, 103)])
def test_each_element_of_a_long_list_is_a_line(
    count: int, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    document = [
        {"number": number, "text": 'a "b"\n\N{SNOWMAN}', "none": None} for number in range(count)
    ]
    print_json(document)
    printed = capsys.readouterr().out
    assert json.loads(printed) == document
    assert len(printed.splitlines()) == lines
