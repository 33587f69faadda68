"""`mvkit devices` and `mvkit clean`."""

from __future__ import annotations

from pathlib import Path

import pytest

from android_harness.devices import open_device
from android_harness.lock import device_lock
from tests.fake_phone.fixtures import MakePhone
from tests.fake_phone.phone import FakePhone
from tests.mobilevit_kit.cli.test_startup import imported_by, running
from tests.mobilevit_kit.commands import Call

pytestmark = pytest.mark.usefixtures("user_folders")


@pytest.fixture
def user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))


def test_phones_and_this_machine_are_listed(mvkit: Call, fake_phone: MakePhone) -> None:
    phone, refusing = fake_phone(), fake_phone(trusted=False)
    result = mvkit("devices")
    assert (result.code, result.err) == (0, "")
    lines = {line.split()[0]: line for line in result.out.splitlines() if line.strip()}
    for cell in ("ready", "Pixel 6 Pro", "Google GS101", "Android 14 (API 34)", "29.5 °C", "87 %"):
        assert cell in lines[phone.serial]
    assert "arm64-v8a armeabi-v7a armeabi" in lines[phone.serial]
    assert lines[refusing.serial].split()[1:] == ["unauthorized", *["-"] * 6]
    assert lines["host"].split()[1] == "ready"
    assert lines[f"{refusing.serial}:"] == (
        f"{refusing.serial}: unauthorized; unlock its screen and accept this computer's key in "
        "the dialog"
    )


def test_json(mvkit: Call, fake_phone: MakePhone) -> None:
    phone = fake_phone(properties={"ro.kernel.qemu": "1", "sys.boot_completed": "1"})
    first, host = mvkit("devices", "--json").json
    assert (first["serial"], first["state"], first["advice"]) == (phone.serial, "ready", None)
    assert first["info"]["emulated"] is True
    assert first["conditions"]["temperatures"] == {"cpu/BIG": 41.0, "skin/VIRTUAL-SKIN": 29.5}
    assert first["conditions"]["moment"].endswith("+00:00")
    assert host["info"]["kind"] == "host"


def test_an_emulator_is_marked(mvkit: Call, fake_phone: MakePhone) -> None:
    fake_phone(properties={"ro.kernel.qemu": "1", "ro.product.model": "sdk"})
    assert "sdk (emulated)" in mvkit("devices").out


def test_hostile_properties_are_shown_harmless(mvkit: Call, phone: FakePhone) -> None:
    phone.state.set_properties({"ro.product.model": "evil\x1b[2J[red]"})
    result = mvkit("devices")
    assert "evil?[2J[red]" in result.out and "\x1b" not in result.out


def test_quiet_is_quiet(mvkit: Call, phone: FakePhone) -> None:
    result = mvkit("devices", "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_asking_leaves_nothing_on_a_phone(mvkit: Call, phone: FakePhone) -> None:
    mvkit("devices")
    assert list(phone.files.path("/data/local/tmp").iterdir()) == []


def test_cleaning(mvkit: Call, phone: FakePhone) -> None:
    open_device(phone.serial).run(["touch", "x"], timeout=10)
    result = mvkit("clean", "--device", phone.serial)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{phone.serial}: removed /data/local/tmp/mvkit\n"
    assert list(phone.files.path("/data/local/tmp").iterdir()) == []
    [document] = mvkit("clean", "--device", phone.serial, "--json").json
    assert document == {"serial": phone.serial, "removed": "/data/local/tmp/mvkit", "notes": []}


def test_mistakes(mvkit: Call, phone: FakePhone) -> None:
    with device_lock(phone.serial):
        busy = mvkit("clean", "--device", phone.serial)
    assert busy.code == 2 and busy.line.startswith(f"{phone.serial}: in use by '")
    unknown = mvkit("clean", "--device", "R5CT")
    assert unknown.code == 2 and unknown.line.startswith("R5CT: no such device; adb knows ")
    missing = mvkit("clean")
    assert missing.code == 2 and missing.line == "Missing option '--device'."


def test_without_adb(mvkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    result = mvkit("devices")
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith("adb is not installed; install it (Debian: apt install adb;")
    assert mvkit("clean", "--device", "host").code == 0


@pytest.mark.parametrize("package", ["psutil", "platformdirs", "filelock"])
def test_without_the_extra(mvkit_process: Call, tmp_path: Path, package: str) -> None:
    result = mvkit_process("clean", "--device", "host", cwd=tmp_path, absent=(package,))
    assert (result.code, result.out) == (2, "")
    assert result.line == (
        f"{package} is not installed; install it with: pip install 'mobilevit-kit[lab]'"
    )


def test_a_lab_machine_needs_no_torch(phone: FakePhone) -> None:
    loaded = imported_by(running("devices"))
    heavy = {"numpy", "torch", "ai_edge_litert", "scipy", "sqlalchemy"}
    assert "android_harness" in loaded and not loaded & heavy
