"""Stores brought together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from android_harness.records import Measurement
from android_harness.store import Merged, Store, merge, merging, open_store
from tests.android_harness.measured import measurement, repeat


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Store]:
    """A file that is merged into `store`."""
    with open_store(tmp_path / "laptop.sqlite", create=True) as opened:
        yield opened


def whole(store: Store) -> dict[str, Measurement]:
    return {one.identity: one for one in store.load([one.identity for one in store.select()])}


def test_twice_is_once(store: Store, laptop: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "_BATCH", 2)
    ours, theirs = measurement(), [measurement() for _ in range(5)]
    store.save(ours)
    for one in theirs:
        laptop.save(one)
    merged = merge(store, laptop)
    everything = {one.identity: one for one in (ours, *theirs)}
    assert whole(store) == everything
    assert set(merged.added) == {one.identity for one in theirs}
    assert (merged.grown, merged.unchanged, merged.conflicting) == ((), (), ())
    again = merge(store, laptop)
    assert (again.added, again.grown, again.conflicting) == ((), (), ())
    assert set(again.unchanged) == {one.identity for one in theirs}
    assert whole(store) == everything
    assert len(whole(laptop)) == 5


def test_back_and_forth(store: Store, laptop: Store) -> None:
    store.save(measurement())
    laptop.save(measurement())
    merge(store, laptop)
    merge(laptop, store)
    assert whole(store) == whole(laptop)
    assert len(whole(store)) == 2


def test_what_has_grown_grows(store: Store, laptop: Store) -> None:
    finished = measurement()
    begun = replace(
        finished, repeats=finished.repeats[:2], validity=None, peak_memory=None, profile=()
    )
    laptop.save(begun)
    assert merge(store, laptop).added == (finished.identity,)
    assert whole(store) == {finished.identity: begun}
    laptop.save(finished)
    assert merge(store, laptop).grown == (finished.identity,)
    assert whole(store) == {finished.identity: finished}
    assert merge(store, laptop).unchanged == (finished.identity,)


def test_an_older_copy_takes_nothing_away(store: Store, laptop: Store) -> None:
    finished = measurement()
    store.save(finished)
    laptop.save(replace(finished, repeats=finished.repeats[:2], validity=None, peak_memory=None))
    assert merge(store, laptop).unchanged == (finished.identity,)
    assert whole(store) == {finished.identity: finished}


@pytest.mark.parametrize(
    "change",
    [
        lambda one: replace(one, repeats=(repeat(0, 99.0), *one.repeats[1:])),
        lambda one: replace(one, labels={"branch": "another"}),
        lambda one: replace(one, device=replace(one.device, serial="another")),
    ],
)
def test_contradictions_are_left_and_reported(
    store: Store, laptop: Store, change: Callable[[Measurement], Measurement]
) -> None:
    ours, other = measurement(), measurement()
    store.save(ours)
    laptop.save(change(ours))
    laptop.save(other)
    merged = merge(store, laptop)
    assert merged.conflicting == (ours.identity,)
    assert merged.added == (other.identity,)
    assert whole(store) == {one.identity: one for one in (ours, other)}


def test_a_store_with_itself(store: Store, location: str) -> None:
    store.save(measurement())
    with open_store(location) as same:
        merged = merge(store, same)
    assert merged == Merged((), (), tuple(whole(store)), ())
