"""A phone that is lost while it is measured, and comes back or does not."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from android_harness import measure as measuring
from android_harness.devices import Device
from android_harness.measure import Request, measure
from android_harness.records import Measurement
from android_harness.store import Store
from converters import Artifact
from converters.errors import DeviceError, DeviceLost
from tests.android_harness.scripted import (
    KEPT,
    QUICK,
    in_the_third_repeat,
    left_on,
    samples_of,
    script,
    stored,
)
from tests.fake_phone.phone import FakePhone

LOSSES = [
    *((where, what, after) for where in ("push", "pull") for what in ("disconnect", "reboot")
      for after in (0, 300)),
    *(("shell", what, 300) for what in ("disconnect", "reboot", "close")),
]  # fmt: skip


@pytest.mark.parametrize(("where", "what", "after"), LOSSES)
def test_a_phone_that_comes_back_is_gone_on_with(
    device: Device, phone: FakePhone, request_: Request, store: Store,
    where: Any, what: Any, after: int,
) -> None:  # fmt: skip
    phone.fault(where, what, after=after)
    said: list[str] = []
    found = measure(device, request_, store, say=said.append)
    assert found.validity == "valid" and stored(store) == found
    assert len(said) <= 1 and all("waiting for it" in line for line in said)
    assert left_on(phone) == KEPT and phone.state.get("fixed-performance") == "false"


def test_a_reboot_in_a_repeat_changes_settings_again(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    script(phone, in_the_third_repeat("touch $STATE/reboot; sleep 20"))
    seen = phone.files.path("/state/reboot")

    def reboot() -> None:
        while not seen.exists():
            time.sleep(0.02)
        phone.reboot()

    thread = threading.Thread(target=reboot)
    thread.start()
    found = measure(device, request_, store)
    thread.join()
    assert all(one.after.fixed_performance for one in found.repeats)
    assert len(found.repeats) == 5 and found.validity == "valid"
    assert phone.state.get("fixed-performance") == "false"


def test_a_phone_that_stays_away(
    device: Device, phone: FakePhone, request_: Request, store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(measuring, "RETURN_LIMIT_S", 0.1)
    monkeypatch.setattr("android_harness.settings._RETURN", 0.1)
    script(phone, in_the_third_repeat("touch $STATE/go; sleep 20"))
    seen = phone.files.path("/state/go")

    def go() -> None:
        while not seen.exists():
            time.sleep(0.02)
        phone.vanish()

    thread = threading.Thread(target=go)
    thread.start()
    said: list[str] = []
    with pytest.raises(DeviceLost, match="the same command goes on with what is stored"):
        measure(device, request_, store, say=said.append)
    thread.join()
    assert any("not put back: fixed performance mode" in line for line in said)
    half = stored(store)
    assert set(samples_of(half)) == {0, 1}
    phone.come_back()
    device.wait(20)
    found = measure(device, request_, store)
    assert found.identity == half.identity and found.repeats[:2] == half.repeats
    assert left_on(phone) == KEPT and phone.state.get("fixed-performance") == "false"
    assert device.stop_leftovers() == 0


def test_adb_s_server_may_be_killed(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    from tests.fake_phone.server import adb

    script(phone, in_the_third_repeat("touch $STATE/kill; sleep 20"))
    seen = phone.files.path("/state/kill")

    def kill() -> None:
        while not seen.exists():
            time.sleep(0.02)
        adb("kill-server")

    thread = threading.Thread(target=kill)
    thread.start()
    found = measure(device, request_, store)
    thread.join()
    assert found.validity == "valid" and len(found.repeats) == 5
    assert left_on(phone) == KEPT


@pytest.mark.slow
def test_two_hundred_disconnections(
    device: Device, phone: FakePhone, request_: Request, store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """No finished repeat is lost, none doubled, and nothing is left on the phone."""
    golden = Artifact.golden
    monkeypatch.setattr(Artifact, "golden", lambda artifact: golden(artifact)[:2])
    started = time.monotonic()
    measure(device, replace(request_, labels={"run": "undisturbed"}), store)
    span = time.monotonic() - started
    store.delete([stored(store).identity])
    request = replace(request_, options=replace(QUICK, repeats=1000))
    chance = random.Random(1)
    kept: dict[str, dict[int, Any]] = {}
    save = store.save

    def save_and_note(*measurements: Measurement) -> None:
        save(*measurements)
        for one in measurements:
            kept.setdefault(one.identity, {}).update(samples_of(one))

    monkeypatch.setattr(store, "save", save_and_note)
    left = 200
    running = True

    def pull_the_cable() -> None:
        nonlocal left
        while left and running:
            # Now and then there is time for a repeat or two.
            time.sleep(1.5 * span if left % 8 == 0 else chance.uniform(0.02, 0.4 * span))
            phone.disconnect()
            left -= 1

    thread = threading.Thread(target=pull_the_cable)
    thread.start()

    def enough(what: str) -> None:
        if not left:
            raise KeyboardInterrupt

    try:
        while True:
            try:
                measure(device, request, store, phase=enough)
            except DeviceLost:
                continue  # too often in a row: the user calls the command again
    except KeyboardInterrupt:
        pass
    finally:
        running = False
        thread.join()
    assert left == 0
    found = stored(store)
    assert kept == {found.identity: samples_of(found)}
    assert [one.index for one in found.repeats] == list(range(len(found.repeats)))
    assert len(found.repeats) >= 10  # it came on meanwhile
    script(phone, "exit 1")
    with pytest.raises(DeviceError):  # the next command tidies up
        measure(device, request, store)
    assert samples_of(stored(store)) == kept[found.identity]
    assert left_on(phone) == KEPT and device.stop_leftovers() == 0
    assert phone.state.get("fixed-performance") == "false"
