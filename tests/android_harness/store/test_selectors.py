"""The names of runs."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from android_harness.records import Measurement, Options
from android_harness.store import Store, parse_selector
from converters.errors import UsageError
from tests.android_harness.measured import PHONE, START, SUBJECT, measurement

RUNS = {
    "a": {"labels": {"branch": "main", "commit": "1f0c"}},
    "b": {"labels": {"branch": "feature,x", "main": ""}},
    "c": {"labels": {"branch": "main"}, "device": replace(PHONE, serial="-rf /\n\x1b[2J")},
    "d": {"labels": {}, "subject": replace(SUBJECT, name="edgenext*s", precision="int8")},
    "e": {"labels": {"branch": "mainly"}, "options": Options(backend="gpu"), "validity": "noisy"},
    "f": {"labels": {"path": "C:\\new(1)"}, "validity": None},
}


@pytest.fixture
def runs(store: Store) -> dict[str, str]:
    """Ids by letter; f is the newest."""
    ids = {}
    for hour, (letter, changes) in enumerate(RUNS.items()):
        measured: Measurement = measurement(
            identity=f"{letter}0000000-{str(uuid.uuid4())[9:]}",
            created=START + timedelta(hours=hour),
            **changes,
        )
        store.save(measured)
        ids[letter] = measured.identity
    return ids


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("latest", "f"),
        ("latest~0", "f"),
        ("latest~5", "a"),
        ("a0000000", "a"),
        ("b000", "b"),
        ("label:branch=main", "ac"),
        ("label:main", "ac"),
        ("label:main=", "b"),
        ("label:branch=main*", "ace"),
        ("label:branch=*", "abce"),
        ("label:*", "abcef"),
        ("label:branch=feature?x", "b"),
        ("label:C:\\new(1)", "f"),
        ("label:C:\\*(?)", "f"),
        ("label:C:\\new(?)", "f"),
        ("label:C:?new(1)", "f"),
        ("label:main,latest", "c"),
        ("latest,label:main", "c"),
        ("label:main,latest~1", "a"),
        ("label:main,label:commit=1f0c", "a"),
        ("name:mobilevit_xs", "abcef"),
        ("name:edge*", "d"),
        ("name:edgenext*s", "d"),
        ("device:-rf*", "c"),
        ("device:-rf /\n\x1b[2J", "c"),
        ("device:R5CT10,latest", "f"),
        ("target:tflite,precision:int8", "d"),
        ("backend:gpu", "e"),
        ("validity:noisy", "e"),
        ("validity:unfinished", "f"),
    ],
)
def test_what_a_selector_names(store: Store, runs: dict[str, str], text: str, letters: str) -> None:
    found = store.select([parse_selector(text)])
    assert sorted(one.identity for one in found) == [runs[letter] for letter in letters]


def test_several_are_added_up(store: Store, runs: dict[str, str]) -> None:
    selectors = [parse_selector(text) for text in ("label:commit=*", "latest~1", "label:main")]
    found = [one.identity for one in store.select(selectors)]
    assert found == [runs[letter] for letter in "eca"]


def test_finished_runs_alone(store: Store, runs: dict[str, str]) -> None:
    found = store.select([parse_selector("latest")], finished=True)
    assert [one.identity for one in found] == [runs["e"]]
    with pytest.raises(UsageError, match="no finished run matches 'validity:unfinished'"):
        store.select([parse_selector("validity:unfinished")], finished=True)


@pytest.mark.parametrize(
    "text",
    ["latest~6", "f0ff", "label:MAIN", "label:mai", "label:branch=", "name:mobilevit_x", "name:",
     "device:R5CT1?0", "label:commit=1f0c,label:feature?x", "label:C:??new(1)", "name:*.*"],
)  # fmt: skip
def test_what_matches_nothing(store: Store, runs: dict[str, str], text: str) -> None:
    with pytest.raises(UsageError, match="no run matches"):
        store.select([parse_selector(text)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' names no runs"),
        ("newest", "'newest' names no runs"),
        ("latest~", "'latest~' names no runs"),
        ("latest~-1", "'latest~-1' names no runs"),
        ("abc", "'abc' names no runs"),  # three digits are too few
        ("ABCDEF", "'ABCDEF' names no runs"),
        ("model:x", "'model:x' names no runs"),
        ("label:x,", "'' names no runs"),
        ("latest,latest~1", "says latest twice"),
        ("validity:good", "validity:good is unknown"),
        ("\x1b[31m\nred", "'?[31m red' names no runs"),
    ],
)
def test_what_is_no_selector(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_selector(text)
    assert said in str(refused.value)
    assert str(refused.value).isprintable()
