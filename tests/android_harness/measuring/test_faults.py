"""What goes wrong around a measurement, as docs/measuring.md lists it: phone, adb, disk, store.

What a runner does wrong is in test_measure.py, a phone that is lost in test_losses.py, too.
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from android_harness.devices import Device, open_device
from android_harness.measure import Request, measure
from android_harness.store import Store, database, open_store, upgrade_store
from converters.errors import DeviceError, DeviceLost, StoreError
from tests.android_harness.postgresql import Server, postgresql_only
from tests.android_harness.scripted import (
    FOLDER,
    KEPT,
    QUICK,
    in_the_third_repeat,
    left_on,
    samples_of,
    script,
    stored,
    when_told,
)
from tests.android_harness.unprivileged import unprivileged
from tests.fake_phone.fixtures import MakePhone, adb
from tests.fake_phone.phone import FakePhone
from tests.fake_phone.state import RUNS_HERE

TELL = "touch $STATE/now; sleep 20"


@pytest.fixture
def request_(request_: Request) -> Request:
    return replace(request_, options=replace(QUICK, repeats=3))


def check_order(phone: FakePhone) -> None:
    """Nothing of a measurement is left on the phone but what the next one need not push."""
    assert left_on(phone) <= KEPT
    assert phone.state.get("fixed-performance") == "false"
    assert phone.state.get("settings/global/stay_on_while_plugged_in") == "0"


# --- the phone goes ---


def returns_late(phone: FakePhone) -> None:
    phone.vanish()
    threading.Timer(0.7, phone.come_back).start()


GOES: dict[str, Callable[[FakePhone], object]] = {
    "cable": FakePhone.disconnect,
    "vanishes and returns": returns_late,
    "reboot": FakePhone.reboot,
    "adb server": lambda phone: adb("kill-server"),
}


@pytest.mark.parametrize("what", GOES)
@pytest.mark.parametrize("moment", ["on_load", "on_run"])
def test_a_phone_that_goes_while_a_file_is_loaded_or_run(
    device: Device, phone: FakePhone, request_: Request, store: Store, what: str, moment: str
) -> None:
    """In the third repeat; the two before it stay, and it is done again."""
    kept: list[object] = []

    def go() -> None:
        kept.append(samples_of(stored(store)))
        GOES[what](phone)

    script(phone, in_the_third_repeat(TELL, moment))
    said: list[str] = []
    with when_told(phone, go):
        found = measure(device, request_, store, say=said.append)
    assert found.validity == "valid" and stored(store) == found
    assert set(samples_of(found)) == {0, 1, 2}
    [before] = kept
    assert before == {index: one for index, one in samples_of(found).items() if index < 2}
    assert "the connection ended before it did" in said[0] and "waiting for it" in said[0]
    check_order(phone)


@pytest.mark.parametrize("features", ["v2", "v1", "none"])
def test_a_shell_that_dies_is_not_taken_for_an_end(
    fake_phone: MakePhone, request_: Request, store: Store, features: str
) -> None:
    """Adb itself exits with 0 then, or says nothing; phones of all ages."""
    phone = fake_phone(properties=RUNS_HERE, features=features)
    script(phone, in_the_third_repeat("touch $STATE/now; sleep 1; echo something; sleep 20"))
    said: list[str] = []
    with when_told(phone, lambda: phone.fault("shell", "close", after=60)):
        found = measure(open_device(phone.serial), request_, store, say=said.append)
    assert found.validity == "valid" and set(samples_of(found)) == {0, 1, 2}
    assert "could not run sh: the connection ended before it did" in said[0]
    assert "stopped what a killed command had left running" in said[1]
    check_order(phone)


def test_a_phone_that_is_lost_again_and_again(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    """It is given up when that happens six times with no repeat in between."""
    script(phone, 'on_load() { [ -n "$outputs" ] || { kill -9 $PPID; exit; }; }')
    said: list[str] = []
    with pytest.raises(DeviceLost, match="the same command goes on with what is stored"):
        measure(device, request_, store, say=said.append)
    assert sum("waiting for it" in line for line in said) == 5
    assert samples_of(stored(store)) == {}
    check_order(phone)


# --- the phone's disk ---


@pytest.mark.parametrize(
    ("what", "words"),
    [("full", "No space left on device"), ("read-only", "Read-only file system")],
)
def test_a_phone_that_takes_no_file(
    device: Device, phone: FakePhone, request_: Request, store: Store, what: str, words: str
) -> None:
    phone.fault("push", what, after=1)
    with pytest.raises(DeviceError, match=f"could not push mvkit-litert: .*{words}") as caught:
        measure(device, request_, store)
    assert not isinstance(caught.value, DeviceLost) and store.select() == []
    check_order(phone)
    assert measure(device, request_, store).validity == "valid"


def test_a_disk_that_is_too_full_to_note_settings(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    """What cannot be noted is not changed."""
    words = "mv: .settings.json: No space left on device"
    phone.files.write("/system/bin/mv", f"#!/bin/sh\necho '{words}' >&2; exit 1\n", mode=0o755)
    with pytest.raises(DeviceError, match=f"could not note its settings: {words}"):
        measure(device, request_, store)
    assert store.select() == []
    assert phone.state.get("fixed-performance") == "false"


def test_a_disk_that_is_too_full_for_outputs(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    said = '{"event":"error","message":"cannot write run/out0-0.bin: No space left on device"}'
    script(phone, f"on_run() {{ [ -z \"$outputs\" ] || {{ echo '{said}'; exit 1; }}; }}")
    with pytest.raises(DeviceError, match=r"the runner failed: cannot write .*No space left"):
        measure(device, request_, store)
    assert store.select() == []
    check_order(phone)


def test_a_folder_that_cannot_be_made(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    phone.files.path("/data/local/tmp").rmdir()
    phone.files.write("/data/local/tmp", "a file in its place")
    with pytest.raises(DeviceError, match=f"could not use {FOLDER}: mkdir: ") as caught:
        measure(device, request_, store)
    assert not isinstance(caught.value, DeviceLost) and store.select() == []


# --- the phone's heat and battery ---


def test_clocks_that_are_lowered_half_way(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    """A phone may throttle and not say so."""
    file = "$STATE/../sys/devices/system/cpu/cpu3/cpufreq/scaling_max_freq"
    script(phone, in_the_third_repeat(f"echo 1700000 >{file}", "on_end"))
    found = measure(device, request_, store)
    assert (found.validity, found.reasons) == (
        "invalid",
        ("repeat 3: throttled: core 3 was allowed 2802 MHz at first, then 1700 MHz",),
    )


def test_a_battery_that_runs_low_half_way(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    script(phone, in_the_third_repeat(TELL.partition(";")[0], "on_start"))
    request = replace(request_, options=replace(QUICK, repeats=4))
    with (
        when_told(phone, lambda: phone.state.set_battery(level=14)),
        pytest.raises(DeviceError, match="its battery is at 14%; charge it to 15%"),
    ):
        measure(device, request, store, phase=lambda what: None)
    half = stored(store)
    assert set(samples_of(half)) == {0, 1, 2} and half.validity is None
    check_order(phone)
    phone.state.set_battery(level=60)
    assert measure(device, request, store).identity == half.identity


# --- the store ---


def in_the_middle(device: Device, phone: FakePhone, request: Request, store: Store,
                  act: Callable[[], object]) -> str:  # fmt: skip
    """Measures with something done in the third repeat; the one line that comes of it."""
    script(phone, in_the_third_repeat("touch $STATE/now; sleep 1"))
    with when_told(phone, act), pytest.raises(StoreError) as caught:
        measure(device, request, store)
    check_order(phone)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    return str(caught.value)


def check_resumes(device: Device, request: Request, store: Store) -> None:
    """The two repeats before are in the store, and the same command goes on with them."""
    half = stored(store)
    assert (set(samples_of(half)), half.validity) == ({0, 1}, None)
    found = measure(device, request, store)
    assert found.identity == half.identity and found.repeats[:2] == half.repeats
    assert found.validity == "valid" and stored(store) == found


def test_a_store_that_another_program_locks(
    device: Device, phone: FakePhone, request_: Request, path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    with open_store(path, create=True) as store:
        holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        line = in_the_middle(
            device, phone, request_, store, lambda: holder.execute("BEGIN IMMEDIATE")
        )
        assert "runs.sqlite: locked by another program; try again" in line
        holder.execute("ROLLBACK")
        holder.close()
        check_resumes(device, request_, store)


def test_a_store_whose_disk_is_full(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    def most_pages(number: int) -> None:
        with store.database.writer.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {number}")

    # SQLite takes no fewer pages than there are; more samples than fit in the last one need more.
    request = replace(request_, options=replace(request_.options, iterations=2000))
    script(phone, "on_end() { :; }")
    line = in_the_middle(device, phone, request, store, lambda: most_pages(1))
    assert "runs.sqlite: its disk is full; free some space" in line
    most_pages(1_000_000)
    check_resumes(device, request, store)


def test_a_store_that_may_only_be_read(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    store.close()
    with tempfile.TemporaryDirectory(prefix="mvkit-") as name:
        folder = Path(name)
        open_store(folder / "runs.sqlite", create=True).close()
        (folder / "runs.sqlite").chmod(0o444)
        folder.chmod(0o555)
        with unprivileged():
            readable = open_store(folder / "runs.sqlite")
        with readable, pytest.raises(StoreError, match=r"runs\.sqlite: read-only; allow writing"):
            measure(device, request_, readable)
        folder.chmod(0o755)
    assert not phone.files.path("/state/count").exists()  # nothing was timed
    check_order(phone)


def test_a_store_that_a_newer_mvkit_upgrades_meanwhile(
    device: Device, phone: FakePhone, request_: Request, store: Store, path: Path
) -> None:
    def upgrade() -> None:
        with sqlite3.connect(path) as connection:
            connection.execute("ALTER TABLE repeats RENAME COLUMN samples TO every_sample")
            connection.execute("UPDATE alembic_version SET version_num = '0042'")
        connection.close()

    line = in_the_middle(device, phone, request_, store, upgrade)
    assert "runs.sqlite" in line
    with pytest.raises(StoreError, match=r"runs\.sqlite: written by a newer mvkit"):
        open_store(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT number FROM repeats").fetchall() == [(0,), (1,)]
    connection.close()


@pytest.fixture
def server_store(postgresql: Server) -> Iterator[Store]:
    url = postgresql.new_store()
    upgrade_store(url)
    with open_store(url) as opened:
        yield opened


@postgresql_only
def test_a_server_that_restarts_in_the_middle(
    device: Device, phone: FakePhone, request_: Request, server_store: Store, postgresql: Server
) -> None:
    script(phone, in_the_third_repeat("touch $STATE/now; sleep 1"))
    with when_told(phone, postgresql.restart):
        found = measure(device, request_, server_store)
    assert found.validity == "valid" and stored(server_store) == found
    assert set(samples_of(found)) == {0, 1, 2}
    check_order(phone)


@postgresql_only
def test_a_server_that_stays_away(
    device: Device, phone: FakePhone, request_: Request, server_store: Store, postgresql: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(database, "_PAUSES", (0.01,))
    try:
        line = in_the_middle(device, phone, request_, server_store, postgresql.stop)
    finally:
        postgresql.start()
    assert "the server does not answer, or went away" in line
    assert line.endswith("the same command goes on from what is stored")
    check_resumes(device, request_, server_store)
