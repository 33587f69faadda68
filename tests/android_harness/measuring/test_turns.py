"""Files that take turns on a phone: measured together, stored as runs of their own."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from android_harness import measure as measuring
from android_harness.compare import compare
from android_harness.devices import Device
from android_harness.measure import Request, measure_in_turns
from android_harness.records import Measurement
from android_harness.store import Store
from android_harness.turns import ratios_in_turns
from converters import Artifact
from converters.errors import DeviceError, DeviceLost
from tests.android_harness.scripted import (
    KEPT,
    in_the_third_repeat,
    left_on,
    samples_of,
    script,
    when_told,
)
from tests.fake_phone.phone import FakePhone


@pytest.fixture
def pair(request_: Request, plain: Artifact) -> list[Request]:
    first = replace(request_, options=replace(request_.options, repeats=6))
    return [first, replace(first, artifact=plain)]


def all_stored(store: Store) -> list[Measurement]:
    """The oldest first."""
    return list(store.load([one.identity for one in reversed(store.select())]))


def test_each_process_gives_a_repeat_of_each(
    device: Device, phone: FakePhone, pair: list[Request], store: Store
) -> None:
    found = measure_in_turns(device, pair, store)
    assert found == all_stored(store)
    digests = tuple(one.artifact.manifest.file.sha256 for one in pair)
    assert tuple(one.subject.sha256 for one in found) == digests
    for one in found:
        assert one.options.beside == digests
        assert one.parity is not None and one.parity.verdict == "pass"
        assert [each.index for each in one.repeats] == [0, 1, 2, 3, 4, 5]
        assert all(each.timings.turns == (1, 1, 1) for each in one.repeats)
    for mine, theirs in zip(found[0].repeats, found[1].repeats, strict=True):
        assert (mine.before, mine.after) == (theirs.before, theirs.after)
    # The scripted runner makes the second model that it loads 10% slower, whichever that is: every
    # other process loads them the other way round.
    ratios = ratios_in_turns(*found)
    expected = {index: (1.1, 1 / 1.1)[index % 2] for index in range(6)}
    assert ratios == pytest.approx(expected, abs=0.001)
    compared = compare(*found)
    assert compared.in_turns == 3
    assert compared.ratio == pytest.approx(1, abs=0.001)
    assert left_on(phone) == KEPT


def test_passes_are_of_each_file_alone(device: Device, pair: list[Request], store: Store) -> None:
    wanted = [replace(one, memory=True, profile=True) for one in pair]
    for one in measure_in_turns(device, wanted, store):
        assert one.peak_memory == 20.0
        assert [row.name for row in one.profile] == ["conv1"]


def test_a_lost_phone_loses_no_repeat_of_either(
    device: Device, phone: FakePhone, pair: list[Request], store: Store
) -> None:
    script(phone, in_the_third_repeat("touch $STATE/now; sleep 1", "on_start"))
    said: list[str] = []
    with when_told(phone, phone.disconnect):
        found = measure_in_turns(device, pair, store, say=said.append)
    assert any("waiting for it" in line for line in said)
    assert found == all_stored(store)
    assert all(len(one.repeats) == 6 for one in found)
    assert compare(*found).in_turns == 3


def test_the_same_command_goes_on_with_both(
    device: Device, phone: FakePhone, pair: list[Request], store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(measuring, "RETURN_LIMIT_S", 0.1)
    script(phone, in_the_third_repeat("exit 3", "on_start"))
    with pytest.raises(DeviceError):
        measure_in_turns(device, pair, store)
    halves = all_stored(store)
    assert [set(samples_of(one)) for one in halves] == [{0, 1}, {0, 1}]
    script(phone, "")
    said: list[str] = []
    found = measure_in_turns(device, pair, store, say=said.append)
    assert [one.identity for one in found] == [one.identity for one in halves]
    assert sum("2 of 6 repeats are done" in line for line in said) == 2
    assert compare(*found).in_turns == 3


def test_a_run_alone_is_not_gone_on_with(
    device: Device, phone: FakePhone, pair: list[Request], store: Store
) -> None:
    script(phone, in_the_third_repeat("exit 3", "on_start"))
    with pytest.raises(DeviceError):
        measuring.measure(device, pair[0], store)
    script(phone, "")
    found = measure_in_turns(device, pair, store)
    assert len(all_stored(store)) == 3
    assert len(found[0].repeats) == 6


def test_one_that_was_deleted_begins_anew_beside_the_other(
    device: Device, phone: FakePhone, pair: list[Request], store: Store
) -> None:
    script(phone, in_the_third_repeat("exit 3", "on_start"))
    with pytest.raises(DeviceError):
        measure_in_turns(device, pair, store)
    kept, lost = all_stored(store)
    store.delete([lost.identity])
    script(phone, "")
    found = measure_in_turns(device, pair, store)
    assert found[0].identity == kept.identity and found[0].repeats[:2] == kept.repeats
    assert all(len(one.repeats) == 6 for one in found)
    assert compare(*found).in_turns == 0  # only two pairs of processes have both


def test_wrong_outputs_of_one_end_the_turns(
    device: Device, pair: list[Request], store: Store, tmp_path: Path
) -> None:
    """The scripted runner gives both the same outputs: both are wrong here."""
    for file in (tmp_path / "cache").rglob("0-0.bin"):
        data = bytearray(file.read_bytes())
        data[3] ^= 0x40
        file.write_bytes(data)
        said = f'"bytes":{len(data)},"crc32":{zlib.crc32(data)}'
        file.with_suffix(".json").write_text(said)
    with pytest.raises(DeviceError, match="wrong outputs of classifier-fp32, classifier-fp32"):
        measure_in_turns(device, pair, store)
    assert [(one.validity, one.repeats) for one in all_stored(store)] == [("invalid", ())] * 2


def test_a_phone_that_stays_away_ends_both(
    device: Device, phone: FakePhone, pair: list[Request], store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(measuring, "RETURN_LIMIT_S", 0.1)
    phone.vanish()
    with pytest.raises(DeviceLost):
        measure_in_turns(device, pair, store)
    assert store.select() == []
