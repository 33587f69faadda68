"""What goes into a store comes out as it was."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from android_harness.records import Measurement, Options, Subject, Timings
from android_harness.store import Store, open_store, parse_selector
from converters.errors import StoreError, UsageError
from tests.android_harness.measured import (
    PHONE,
    STEADY,
    SUBJECT,
    measurement,
    measurements,
    repeat,
    slower,
)


def only(store: Store) -> Measurement:
    (summary,) = store.select()
    (found,) = store.load([summary.identity])
    return found


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(measured=measurements)
def test_every_record_comes_back(store: Store, measured: Measurement) -> None:
    store.save(measured)
    try:
        assert only(store) == measured
        (summary,) = store.select()
        for name in ("created", "subject", "device", "options", "labels", "validity", "reasons"):
            assert getattr(summary, name) == getattr(measured, name)
    finally:
        store.delete([measured.identity])


@pytest.mark.parametrize(
    "text", ["\0", "a\0b", "\udc80", "\\", "\\u0000", "\\\\", "", "\U0001f600"]
)
def test_text_that_databases_lack(store: Store, text: str) -> None:
    measured = measurement(
        subject=Subject(text, text, text, text, (text,)),
        device=replace(PHONE, serial=text, model=text),
        options=Options(runner=text, backend=text),
        labels={text: text},
        reasons=(text,),
    )
    store.save(measured)
    assert only(store) == measured
    assert len(store.select([parse_selector(f"name:{text}")])) == 1


def test_all_is_there_after_opening_again(location: str) -> None:
    measured = measurement()
    with open_store(location, create=True) as store:
        store.save(measured)
    with open_store(location) as store:
        assert only(store) == measured


def test_a_repeat_is_there_when_save_returns(store: Store, location: str) -> None:
    whole = measurement()
    begun = replace(whole, repeats=(), validity=None)
    store.save(begun)
    for count in range(1, len(whole.repeats) + 1):
        store.save(replace(begun, repeats=whole.repeats[:count]))
        with open_store(location) as another:
            assert only(another).repeats == whole.repeats[:count]
    store.save(whole)
    assert only(store) == whole


def test_saving_twice_is_saving_once(store: Store) -> None:
    measured = measurement()
    store.save(measured)
    store.save(measured)
    assert only(store) == measured


def test_what_was_measured_is_not_overwritten(store: Store) -> None:
    measured = measurement()
    store.save(measured)
    other = replace(measured, repeats=(repeat(0, 99.0),), reasons=("changed",))
    with pytest.raises(StoreError, match="repeat 1 is stored with other results"):
        store.save(other)
    assert only(store) == measured


def test_a_tool_without_samples(store: Store) -> None:
    timings = Timings(summary={"median": 9.5, "p95": 11.0})
    measured = measurement(repeats=(replace(repeat(0, 1.0), timings=timings),))
    store.save(measured)
    assert only(store).repeats[0].timings.samples is None
    assert store.select()[0].medians == (9.5,)


def test_no_repeat_is_lost_to_kill_9(tmp_path: Path) -> None:
    """A process that is killed while it saves; what it said was saved is there."""
    path = tmp_path / "runs.sqlite"
    code = (
        "import sys\n"
        "from dataclasses import replace\n"
        "from android_harness.store import open_store\n"
        "from tests.android_harness.measured import measurement, repeat\n"
        "whole = measurement(repeats=(), validity=None)\n"
        "with open_store(sys.argv[1], create=True) as store:\n"
        "    for count in range(100000):\n"
        "        whole = replace(whole, repeats=(*whole.repeats, repeat(count, 1.0 + count)))\n"
        "        store.save(whole)\n"
        "        print(count, flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 20:
                break
        process.send_signal(signal.SIGKILL)
        said = [int(line), *map(int, process.stdout)][-1]
    with open_store(path) as store:
        indices = [one.index for one in only(store).repeats]
    assert indices == list(range(len(indices)))
    assert len(indices) - 1 in (said, said + 1)  # killed between saving and saying so


def unfinished(**changes: object) -> Measurement:
    whole = measurement(validity=None, **changes)
    return replace(whole, repeats=whole.repeats[:2])


def search(store: Store, wanted: Measurement) -> Measurement | None:
    return store.unfinished(wanted.subject, wanted.device, wanted.options, wanted.labels)


def test_an_interrupted_measurement_is_found(store: Store) -> None:
    interrupted = unfinished()
    store.save(measurement())
    store.save(interrupted)
    assert search(store, interrupted) == interrupted
    store.save(replace(interrupted, validity="valid"))
    assert search(store, interrupted) is None


def test_of_two_interrupted_the_newer_is_found(store: Store) -> None:
    older, newer = unfinished(), slower(unfinished(), 1.1)
    store.save(newer)
    store.save(older)
    assert search(store, older) == newer


@pytest.mark.parametrize(
    "change",
    [
        lambda one: replace(one, subject=replace(one.subject, sha256="cd" * 32)),
        lambda one: replace(one, subject=replace(one.subject, name="another")),
        lambda one: replace(one, device=replace(one.device, serial="another")),
        lambda one: replace(one, device=replace(one.device, os="Android 15 (API 35)")),
        lambda one: replace(one, options=replace(one.options, threads=4)),
        lambda one: replace(one, options=replace(one.options, max_temperature=30.0)),
        lambda one: replace(one, labels={}),
        lambda one: replace(one, labels={"branch": "main", "more": ""}),
    ],
)
def test_another_measurement_is_not_gone_on_with(
    file_store: Store, change: Callable[[Measurement], Measurement]
) -> None:
    interrupted = unfinished()
    file_store.save(interrupted)
    assert search(file_store, change(interrupted)) is None


def test_options_are_the_same_however_they_are_written(file_store: Store) -> None:
    interrupted = unfinished(options=Options(min_seconds=1, cooldown=0))
    file_store.save(interrupted)
    assert search(file_store, replace(interrupted, options=Options())) is not None


def test_deleting(store: Store) -> None:
    kept, deleted = measurement(), measurement()
    store.save(kept)
    store.save(deleted)
    store.delete([deleted.identity, str(uuid.uuid4())])
    assert only(store) == kept
    with pytest.raises(StoreError, match=f"there is no run {deleted.identity}"):
        list(store.load([deleted.identity]))
    store.save(deleted)  # its labels and repeats were gone too
    assert {one.identity for one in store.select()} == {kept.identity, deleted.identity}


def test_runs_come_in_the_order_that_was_asked_for(store: Store) -> None:
    saved = [measurement() for _ in range(3)]
    for one in saved:
        store.save(one)
    backwards = [one.identity for one in reversed(saved)]
    assert [one.identity for one in store.load(backwards)] == backwards


def test_lists_show_the_newest_first(store: Store) -> None:
    first = measurement()
    later = [replace(first, identity=str(uuid.uuid4()), created=first.created + timedelta(hours=n))
             for n in (2, 1)]  # fmt: skip
    for one in (first, *later):
        store.save(one)
    newest_first = [later[0].identity, later[1].identity, first.identity]
    assert [one.identity for one in store.select()] == newest_first
    assert [one.identity for one in store.select(limit=2)] == newest_first[:2]
    assert store.select()[0].medians == pytest.approx(STEADY)


def test_several_may_make_a_new_file_at_once(tmp_path: Path) -> None:
    def use(number: int) -> None:
        with open_store(tmp_path / "deep" / "runs.sqlite", create=True) as store:
            store.save(measurement(labels={"number": str(number)}))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(4)))
    with open_store(tmp_path / "deep" / "runs.sqlite") as store:
        assert {one.labels["number"] for one in store.select()} == set("0123")


def test_several_save_at_once(store: Store) -> None:
    """Devices are measured in threads of one command, and several commands share a store."""
    begun = [measurement(repeats=()) for _ in range(4)]

    def save(one: Measurement) -> None:
        for count in range(20):
            one = replace(one, repeats=(*one.repeats, repeat(count, 1.0)))
            store.save(one)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, begun))
    assert [len(one.medians) for one in store.select()] == [20] * 4


def test_samples_take_eight_bytes(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    samples = tuple(10 + 0.001 * i for i in range(100_000))
    one = repeat(0, 1.0)
    with open_store(path, create=True) as store:
        store.save(measurement(repeats=(replace(one, timings=Timings(samples=samples)),)))
    assert path.stat().st_size < 8 * len(samples) + 100_000


def test_a_file_is_written_ahead(tmp_path: Path, file_store: Store) -> None:
    with sqlite3.connect(tmp_path / "file.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_documents_without_a_later_field_have_its_default(
    tmp_path: Path, file_store: Store
) -> None:
    file_store.save(measurement())
    with sqlite3.connect(tmp_path / "file.sqlite") as connection:
        connection.execute("UPDATE measurements SET subject = json_remove(subject, '$.inputs')")
    assert only(file_store).subject == replace(SUBJECT, inputs=())
    assert only(file_store).device == PHONE


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no\.sqlite: there is no store; `mvkit bench` makes one"):
        open_store(tmp_path / "no.sqlite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("location", ["mysql://host/runs", "sqlite:///runs.sqlite", "http://x"])
def test_other_kinds_of_url(location: str) -> None:
    with pytest.raises(UsageError, match="is not supported; name a file, or postgresql://"):
        open_store(location)


def test_an_id_that_begins_several(file_store: Store) -> None:
    for end in ("00000000aaaa", "00000000bbbb"):
        file_store.save(measurement(identity=f"12345678-0000-4000-8000-{end}"))
    with pytest.raises(UsageError, match="'1234' is the start of several ids: 12345678-0000"):
        file_store.select([parse_selector("1234")])
