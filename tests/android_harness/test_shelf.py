"""Several devices at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from android_harness.devices import Device, open_device
from android_harness.measure import Request
from android_harness.records import Options
from android_harness.shelf import Group, Outcome, measure_all
from android_harness.store import Store, open_store
from converters import Artifact
from converters.errors import DeviceLost, UsageError
from tests.android_harness.scripted import script
from tests.fake_phone.fixtures import MakePhone
from tests.fake_phone.phone import FakePhone
from tests.fake_phone.state import RUNS_HERE

QUICK = Options(warmup=0, iterations=2, min_seconds=0.0, repeats=2)


class Listener:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ended: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def phase(self, serial: str, group: Group, what: str) -> None:
        pass

    def done(self, outcome: Outcome) -> None:
        self.ended.append(outcome.serial)


@pytest.fixture
def phones(fake_phone: MakePhone) -> list[FakePhone]:
    return [fake_phone(properties=RUNS_HERE) for _ in range(2)]


@pytest.fixture
def devices(phones: list[FakePhone]) -> list[Device]:
    return [open_device(phone.serial) for phone in phones]


@pytest.fixture
def request_(request_: Request) -> Request:
    return replace(request_, options=QUICK)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "runs.sqlite", create=True) as opened:
        yield opened


def test_devices_are_measured_at_the_same_time(
    phones: list[FakePhone], devices: list[Device], request_: Request, store: Store
) -> None:
    """Each waits in its first timed run until the other has come there."""
    for phone, other in zip(phones, reversed(phones), strict=True):
        mine, theirs = phone.files.path("/state/here"), other.files.path("/state/here")
        script(phone, f"on_run() {{ touch {mine}; until [ -e {theirs} ]; do sleep 0.05; done; }}")
    requests = [request_, replace(request_, options=replace(QUICK, threads=2))]
    listener = Listener()
    outcomes = measure_all(devices, [[one] for one in requests], store, listener)
    assert [(one.serial, one.request.options.threads) for one in outcomes] == [
        (device.serial, threads) for device in devices for threads in (1, 2)
    ]
    assert all(one.measurement and one.measurement.validity for one in outcomes)
    assert len(store.select()) == len(listener.ended) == 4


def test_a_lost_phone_stops_its_own_files_only(
    phones: list[FakePhone], devices: list[Device], request_: Request, store: Store
) -> None:
    phones[0].vanish()
    requests = [request_, replace(request_, options=replace(QUICK, threads=2))]
    outcomes = measure_all(devices, [[one] for one in requests], store, Listener())
    assert all(isinstance(one.error, DeviceLost) for one in outcomes[:2])
    assert outcomes[0].error is outcomes[1].error  # it is not waited for twice
    assert [one.measurement is not None for one in outcomes] == [False, False, True, True]


def test_each_file_of_a_group_has_its_outcome(
    phones: list[FakePhone], devices: list[Device], request_: Request, plain: Artifact, store: Store
) -> None:
    group = [request_, replace(request_, artifact=plain)]
    listener = Listener()
    outcomes = measure_all(devices, [group], store, listener)
    assert [one.request for one in outcomes] == group * 2
    assert all(one.measurement and one.measurement.options.beside for one in outcomes)
    phones[0].vanish()
    outcomes = measure_all(devices, [group], store, listener)
    assert [isinstance(one.error, DeviceLost) for one in outcomes] == [True, True, False, False]
    assert len(listener.ended) == 8


def test_one_that_is_in_use_does_not_stop_the_other(
    devices: list[Device], request_: Request, store: Store
) -> None:
    from android_harness.lock import device_lock

    with device_lock(devices[1].serial):
        first, second = measure_all(devices, [[request_]], store, Listener())
    assert first.measurement is not None
    assert isinstance(second.error, UsageError) and "in use by" in str(second.error)


def test_a_fault_of_ours_is_kept_with_its_device(
    devices: list[Device], request_: Request, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(device: Device, *_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("android_harness.shelf.measure_in_turns", broken)
    outcomes = measure_all(devices, [[request_]], store, Listener())
    assert [type(one.error) for one in outcomes] == [ZeroDivisionError] * 2


def test_ctrl_c_ends_all_of_them_and_puts_settings_back(
    phones: list[FakePhone], devices: list[Device], request_: Request, store: Store
) -> None:
    for phone in phones:
        script(phone, 'on_run() { [ -n "$outputs" ] || { touch $STATE/here; sleep 100; }; }')

    def press() -> None:
        while not all(phone.files.path("/state/here").exists() for phone in phones):
            time.sleep(0.02)
        assert [phone.state.get("fixed-performance") for phone in phones] == ["true", "true"]
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    listener = Listener()
    with pytest.raises(KeyboardInterrupt):
        measure_all(devices, [[request_]], store, listener)
    thread.join()
    assert listener.lines == ["stopping; what was measured is stored"]
    for phone, device in zip(phones, devices, strict=True):
        assert phone.state.get("fixed-performance") == "false"
        assert device.stop_leftovers() == 0
    assert [one.validity for one in store.select()] == [None, None]
