"""Measuring on a phone, emulated behind the real adb."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from android_harness import measure as measuring
from android_harness.devices import Device, open_device
from android_harness.measure import Request, measure
from android_harness.records import Measurement
from android_harness.store import Store
from converters.errors import DeviceError, StoreError, UsageError
from tests.android_harness.scripted import (
    KEPT,
    QUICK,
    in_the_third_repeat,
    left_on,
    samples_of,
    script,
    stored,
)
from tests.fake_phone.fixtures import MakePhone
from tests.fake_phone.phone import FakePhone
from tests.fake_phone.state import RUNS_HERE


def test_a_measurement_is_whole_and_in_the_store(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    said: list[str] = []
    request = replace(request_, labels={"branch": "main"}, memory=True, profile=True)
    found = measure(device, request, store, say=said.append)
    assert stored(store) == found
    assert (found.validity, found.reasons) == ("valid", ())
    assert found.parity is not None and found.parity.verdict == "pass"
    assert found.parity.max_relative_error == 0
    assert found.subject.inputs == ("1x3x32x48 float32",)
    assert found.subject.sha256 == request.artifact.manifest.file.sha256
    assert found.device == device.describe() and not found.device.emulated
    assert found.labels == {"branch": "main"}
    assert [one.index for one in found.repeats] == [0, 1, 2, 3, 4]
    for one in found.repeats:
        assert one.timings.samples is not None and len(one.timings.samples) == 3
        assert (one.timings.load, one.timings.compile, one.timings.first) == (2.0, 3.0, 4.0)
        assert len(one.timings.warmup) == 1
        for conditions in (one.before, one.after):
            assert conditions.temperatures["skin/VIRTUAL-SKIN"] == 29.5
            assert conditions.fixed_performance is True and conditions.screen_on is True
    assert len(set(samples_of(found).values())) > 1  # processes of their own
    assert found.peak_memory == 20.0
    assert [(row.name, row.time) for row in found.profile] == [("conv1", 0.5)]
    assert said == []
    assert left_on(phone) == KEPT
    assert phone.state.get("fixed-performance") == "false"


def test_phases_tell_what_is_done(device: Device, request_: Request, store: Store) -> None:
    phases: list[str] = []
    measure(device, request_, store, phase=phases.append)
    cases = len(request_.artifact.golden())
    assert phases == [
        "reading the device",
        "pushing the runner",
        "pushing the file",
        "pushing the golden inputs",
        *(f"checking outputs, {number + 1} of {cases}" for number in range(cases)),
        *(f"repeat {number + 1} of 5" for number in range(5)),
    ]


def test_nothing_is_timed_when_outputs_are_wrong(
    device: Device, request_: Request, store: Store, tmp_path: Path
) -> None:
    for file in (tmp_path / "cache").rglob("0-0.bin"):
        data = bytearray(file.read_bytes())
        data[3] ^= 0x40  # an exponent's bit
        file.write_bytes(data)
        said = f'"bytes":{len(data)},"crc32":{zlib.crc32(data)}'
        file.with_suffix(".json").write_text(said)
    found = measure(device, request_, store)
    assert (found.validity, found.repeats) == ("invalid", ())
    assert found.reasons[0].startswith("parity on the device failed: relative error")
    assert stored(store) == found
    # It is finished: the same command measures anew.
    assert measure(device, request_, store).identity != found.identity


def test_a_damaged_output_is_an_error_and_no_verdict(
    device: Device, request_: Request, store: Store, tmp_path: Path
) -> None:
    for file in (tmp_path / "cache").rglob("0-0.bin"):
        data = bytearray(file.read_bytes())
        data[0] ^= 1
        file.write_bytes(data)
    with pytest.raises(DeviceError, match="an output was damaged on its way"):
        measure(device, request_, store)
    assert store.select() == []


def test_a_runner_that_gives_no_outputs_leaves_parity_open(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    script(phone, "on_run() { outputs=; }")
    found = measure(device, request_, store)
    assert found.parity is not None and found.parity.verdict == "unverified"
    assert found.validity == "valid" and len(found.repeats) == 5
    assert found.reasons == (
        "outputs on the device could not be checked: the runner wrote no outputs",
    )


def test_a_run_that_qemu_emulates_is_marked(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    script(phone, "emulated=true")
    assert measure(device, request_, store).device.emulated
    assert stored(store).device.emulated


# What the runner does in its third repeat, and what is said. The first two are stored already.
FAULTS = {
    "killed": ("kill -9 $$", "the runner's report cannot be used: it ends early; it was ended by "
               "signal 9"),
    "fails": ('echo \'{"event":"error","message":"no memory"}\'; exit 1',
              "the runner failed: no memory; it ended with exit code 1"),
    "garbage": ("head -c 3000 /dev/urandom; exit 0", "the runner's report cannot be used"),
    "wrong end": ("lines=99", "the runner's report cannot be used: lines of it were lost"),
    "cut": ('echo \'{"event":"end","lin\'; exit 0', "a line of it is damaged"),
    "NaN": ('echo \'{"event":"sample","at":NaN,"ns":1}\'', "a line of it is damaged"),
    "clock": ("at=0", "its clock went backwards"),
    "library": ("echo 'libLiteRt.so: cannot open shared object file' >&2; exit 127",
                "it ended with exit code 127: libLiteRt.so: cannot open shared object file"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_runner_that_goes_wrong_costs_one_repeat(
    device: Device, phone: FakePhone, request_: Request, store: Store, fault: str
) -> None:
    text, message = FAULTS[fault]
    script(phone, in_the_third_repeat(text))
    with pytest.raises(DeviceError) as caught:
        measure(device, request_, store)
    assert message in str(caught.value) and str(caught.value).startswith(phone.serial)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    half = stored(store)
    assert (half.validity, set(samples_of(half))) == (None, {0, 1})
    assert left_on(phone) == KEPT and phone.state.get("fixed-performance") == "false"
    said: list[str] = []
    found = measure(device, request_, store, say=said.append)
    assert said == [
        f"{phone.serial}: going on with run {half.identity[:8]}, 2 of 5 repeats are done"
    ]
    assert found.identity == half.identity and found.validity == "valid"
    assert found.repeats[:2] == half.repeats
    assert stored(store) == found


def test_one_that_hangs_is_stopped(
    device: Device, phone: FakePhone, request_: Request, store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(measuring, "time_limit", lambda options, single: 1.0)
    script(phone, in_the_third_repeat("sleep 100"))
    with pytest.raises(DeviceError, match=r"it did not end within 1 s; it was stopped"):
        measure(device, request_, store)
    assert device.stop_leftovers() == 0
    assert set(samples_of(stored(store))) == {0, 1}


def test_one_that_prints_without_end_is_stopped(
    device: Device, phone: FakePhone, request_: Request, store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("android_harness.devices.following.OUTPUT_LIMIT", 2**20)
    script(phone, in_the_third_repeat("cat /dev/zero"))
    with pytest.raises(DeviceError, match=r"it printed more than 1 MiB; it was stopped"):
        measure(device, request_, store)
    assert device.stop_leftovers() == 0


@pytest.mark.parametrize(
    ("abis", "message"),
    [
        ("riscv64", "no runner can be built for a device with riscv64"),
        ("arm64-v8a", "there is no runner of tflite files for arm64-v8a; build it with"),
    ],
)
def test_a_phone_without_a_runner(
    fake_phone: MakePhone, request_: Request, store: Store, abis: str, message: str
) -> None:
    phone = fake_phone(properties={**RUNS_HERE, "ro.product.cpu.abilist": abis})
    with pytest.raises(UsageError, match=message):
        measure(open_device(phone.serial), request_, store)
    assert store.select() == []


def test_a_runner_of_another_processor_is_told(
    device: Device, request_: Request, store: Store, tmp_path: Path
) -> None:
    [run] = (tmp_path / "cache").rglob("run")
    run.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57))
    with pytest.raises(DeviceError, match=r"it is empty; it ended with exit code \d+: .*run"):
        measure(device, request_, store)


THROTTLE = """
    file="$STATE/dumpsys/thermalservice"
    sed 's/^Thermal Status: 0/Thermal Status: 2/' "$file" >"$file.new"; mv "$file.new" "$file"
"""


def test_throttling_that_starts_half_way_makes_it_invalid(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    script(phone, in_the_third_repeat(THROTTLE, "on_end"))

    def phase(what: str) -> None:
        if "throttled" in what:  # it cools down while it is waited for
            phone.state.set_temperatures(skin=29.5)

    found = measure(device, request_, store, phase=phase)
    assert found.validity == "invalid"
    assert found.reasons == ("repeat 3: throttled: thermal status 2",)
    assert len(found.repeats) == 5


def test_a_phone_that_never_cools_down(
    device: Device, phone: FakePhone, request_: Request, store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(measuring, "COOLING_LIMIT_S", 0.0)
    phone.state.set_temperatures(skin=41.0)
    request = replace(request_, options=replace(QUICK, max_temperature=35.0))
    with pytest.raises(DeviceError, match=r"still 41.0 °C warm \(skin/VIRTUAL-SKIN; limit 35"):
        measure(device, request, store)
    assert samples_of(stored(store)) == {}
    assert phone.state.get("fixed-performance") == "false"


def test_an_empty_battery(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    phone.state.set_battery(level=9)
    with pytest.raises(DeviceError, match="its battery is at 9%; charge it to 15%"):
        measure(device, request_, store)
    phone.state.set_battery(level=15)
    assert measure(device, request_, store).validity == "valid"
    assert len(store.select()) == 1


def test_a_store_that_stops_taking_repeats(
    device: Device, phone: FakePhone, request_: Request, store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    save = store.save

    def full(measurement: Measurement) -> None:
        if len(measurement.repeats) == 3:
            raise StoreError("its disk is full")
        save(measurement)

    monkeypatch.setattr(store, "save", full)
    with pytest.raises(StoreError):
        measure(device, request_, store)
    assert set(samples_of(stored(store))) == {0, 1}
    assert left_on(phone) == KEPT and phone.state.get("fixed-performance") == "false"
    monkeypatch.undo()


def test_other_options_are_another_measurement(
    device: Device, phone: FakePhone, request_: Request, store: Store
) -> None:
    script(phone, in_the_third_repeat("exit 1"))
    with pytest.raises(DeviceError):
        measure(device, request_, store)
    script(phone, "")
    for options in (replace(QUICK, threads=2), replace(QUICK, repeats=1)):
        measure(device, replace(request_, options=options), store)
    measure(device, replace(request_, labels={"x": "y"}), store)
    assert len(store.select()) == 4
