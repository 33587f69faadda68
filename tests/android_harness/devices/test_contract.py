"""What every device does: phones with and without shell_v2, of 64-bit Arm, and this host."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import psutil
import pytest

from android_harness.devices import Device, following, open_device
from converters.errors import DeviceError, UsageError
from tests.android_harness.leftovers import left_running
from tests.fake_phone.fixtures import MakePhone

HOSTILE = "-n $(touch pwned) `id`; 'x' \"y\" &\n\\ é"


@pytest.fixture(params=["v2", "v1", "none", "arm64", "host"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def device(kind: str, request: pytest.FixtureRequest) -> Device:
    if kind == "host":
        return open_device("host")
    make: MakePhone = request.getfixturevalue("fake_phone")
    if kind == "arm64":
        return open_device(make(**request.getfixturevalue("arm64_tier").options).serial)
    return open_device(make(features=kind).serial)


@pytest.fixture
def folder(kind: str, device: Device, tmp_path: Path) -> Path:
    """Where the device's folder lies on this host."""
    return Path(device.folder) if kind == "host" else tmp_path / "phone0" / device.folder[1:]


def test_a_program_runs_in_the_folder_and_its_exit_code_comes_back(
    device: Device, folder: Path
) -> None:
    done = device.run(["sh", "-c", "touch here; exit 3"], timeout=10)
    assert (done.code, done.output) == (3, "")
    assert [p.name for p in folder.iterdir()] == ["here"]


@pytest.mark.parametrize("text", ["a\n\nb\n\n", "no end", "", "\n", "a\n \n", "\x1b[2Jé\t\n"])
def test_output_comes_back_to_the_byte(device: Device, text: str) -> None:
    lines: list[str] = []
    done = device.run(["printf", "%s", text], timeout=10, on_line=lines.append)
    assert (done.code, done.output, done.errors) == (0, text, "")
    assert lines == text.removesuffix("\n").split("\n") if text else lines == []


def test_errors_are_apart_where_the_phone_can_tell_them(device: Device, kind: str) -> None:
    done = device.run(["sh", "-c", "echo out; echo error >&2"], timeout=10)
    together = kind in ("v1", "none")
    assert done.output == ("out\nerror\n" if together else "out\n")
    assert done.errors == ("" if together else "error\n")


def test_arguments_arrive_as_they_are(device: Device, folder: Path) -> None:
    done = device.run(["printf", "%s|", HOSTILE, "", "--", "*"], timeout=10)
    assert done.output == f"{HOSTILE}||--|*|"
    assert not (folder / "pwned").exists()


def test_a_program_that_is_not_there_is_127(device: Device) -> None:
    done = device.run(["./no-such-program"], timeout=10)
    assert done.code == 127
    assert "no-such-program" in done.output + done.errors


def test_a_program_that_is_killed_has_its_signal_in_the_code(device: Device) -> None:
    assert device.run(["sh", "-c", "kill -9 $$"], timeout=10).code == 137


def test_a_program_that_hangs_is_stopped_with_its_children(device: Device, folder: Path) -> None:
    with pytest.raises(DeviceError) as caught:
        device.run(["sh", "-c", "sleep 100 & sleep 100"], timeout=0.4)
    assert str(caught.value).endswith(
        "could not run sh: it did not end within 0.4 s; it was stopped"
    )
    assert left_running(folder) == []


def test_a_program_that_prints_without_end_is_stopped(
    device: Device, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "OUTPUT_LIMIT", 2**20)
    with pytest.raises(DeviceError) as caught:
        device.run(["cat", "/dev/zero"], timeout=60)
    assert str(caught.value).endswith(
        "could not run cat: it printed more than 1 MiB; it was stopped"
    )
    assert left_running(folder) == []


def test_an_interrupted_program_is_stopped(device: Device, folder: Path) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        device.run(["sh", "-c", "echo begun; sleep 100"], timeout=60, on_line=interrupt)
    assert left_running(folder) == []


def test_leftovers_are_found_by_their_folder(device: Device, folder: Path) -> None:
    device.run(["sh", "-c", "sleep 100 >/dev/null 2>&1 &"], timeout=10)
    other = psutil.Popen(["sleep", "100"], cwd="/")
    try:
        running = device.run(["true"], timeout=10).code == 0 and device.stop_leftovers()
        assert running in (0, 1)  # the host stops a program's children with it
        assert left_running(folder) == []
        assert other.is_running()
    finally:
        other.kill()
        other.wait()


def test_a_file_is_pushed_once(device: Device, folder: Path, tmp_path: Path) -> None:
    local = tmp_path / "local file"
    local.write_bytes(b"first")
    local.chmod(0o755)
    assert device.push(local, f"models/{HOSTILE}") is True
    pushed = folder / "models" / HOSTILE
    assert pushed.read_bytes() == b"first"
    assert pushed.stat().st_mode & stat.S_IXUSR
    assert device.push(local, f"models/{HOSTILE}") is False


def test_another_content_of_the_same_size_and_time_is_pushed(
    device: Device, folder: Path, tmp_path: Path
) -> None:
    local = tmp_path / "model"
    local.write_bytes(b"first")
    os.utime(local, (1e9, 1e9))
    device.push(local, "model")
    local.write_bytes(b"other")
    os.utime(local, (1e9, 1e9))
    assert device.push(local, "model") is True
    assert (folder / "model").read_bytes() == b"other"


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_file_that_was_altered_on_the_device_is_pushed_again(
    device: Device, folder: Path, tmp_path: Path, damage: str
) -> None:
    local = tmp_path / "model"
    local.write_bytes(b"first")
    device.push(local, "model")
    pushed = folder / "model"
    times = pushed.stat()
    if damage == "changed":
        pushed.write_bytes(b"wrong")
        os.utime(pushed, ns=(times.st_atime_ns, times.st_mtime_ns))
    else:
        pushed.unlink()
    assert device.push(local, "model") is True
    assert pushed.read_bytes() == b"first"


def test_a_folder_is_pushed_once_and_mirrored(device: Device, folder: Path, tmp_path: Path) -> None:
    local = tmp_path / "bundle"
    (local / "lib").mkdir(parents=True)
    (local / "runner").write_bytes(b"run")
    (local / "lib" / "a.so").write_bytes(b"a")
    assert device.push(local, "runner-1") is True
    assert device.push(local, "runner-1") is False
    (local / "lib" / "a.so").write_bytes(b"b")
    assert device.push(local, "runner-1") is True
    (local / "lib" / "a.so").rename(local / "lib" / "b.so")
    assert device.push(local, "runner-1") is True
    assert (folder / "runner-1" / "lib" / "b.so").read_bytes() == b"b"
    names = {str(p.relative_to(folder / "runner-1")) for p in (folder / "runner-1").rglob("*")}
    assert names == {"runner", "lib", "lib/b.so"}


def test_a_file_is_pulled_whole_or_not_at_all(device: Device, tmp_path: Path) -> None:
    device.run(["sh", "-c", "printf data >out"], timeout=10)
    local = tmp_path / "pulled"
    device.pull("out", local)
    assert local.read_bytes() == b"data"
    with pytest.raises(DeviceError, match=r"could not pull missing: .*[Nn]o such file"):
        device.pull("missing", local)
    assert local.read_bytes() == b"data"
    assert not list(tmp_path.glob(".mvkit-*"))


def test_files_and_folders_are_removed(device: Device, folder: Path) -> None:
    device.run(["sh", "-c", "mkdir a; touch a/x b c"], timeout=10)
    for name in ("a", "b", "missing"):
        device.remove(name)
    assert [p.name for p in folder.iterdir()] == ["c"]


def test_cleaning_removes_the_folder_and_nothing_beside_it(device: Device, folder: Path) -> None:
    device.run(["touch", "x"], timeout=10)
    beside = folder.parent / "mvkit-of-another"
    beside.mkdir()
    device.clean()
    assert not folder.exists() and beside.exists()
    device.clean()


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(
    device: Device, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError):
        device.remove(name)
    with pytest.raises(UsageError):
        device.push(tmp_path, name)
    with pytest.raises(UsageError):
        device.pull(name, tmp_path / "x")


def test_asking_leaves_nothing_on_the_device(device: Device, folder: Path) -> None:
    device.describe()
    device.conditions()
    device.stop_leftovers()
    device.remove("x")
    assert not folder.exists()


def test_a_device_that_is_there_is_not_waited_for(device: Device) -> None:
    device.wait(0)
