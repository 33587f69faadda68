"""What adb prints, in the words of its versions, and hostile text on the way to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from android_harness.devices import adb_tool, find_devices, open_device
from android_harness.devices.adb_tool import Listed, failure, parse_devices, without_server_news
from converters.errors import DeviceError, DeviceLost, UsageError

LISTING = """\
* daemon not running; starting now at tcp:5037
* daemon started successfully
List of devices attached
R5CT30ABCDE\tdevice
192.168.0.7:5555\toffline
adb-R5CT (2)._adb-tls-connect._tcp\tdevice
emulator-5554\tunauthorized
????????????\tno permissions (user in plugdev group; are your udev rules wrong?); see [http://x]
FA7\trecovery
not a device

"""


def test_a_listing() -> None:
    assert parse_devices(LISTING) == [
        Listed("R5CT30ABCDE", "ready"),
        Listed("192.168.0.7:5555", "offline"),
        Listed("adb-R5CT (2)._adb-tls-connect._tcp", "ready"),
        Listed("emulator-5554", "unauthorized"),
        Listed("????????????", "no permissions"),
        Listed("FA7", "recovery"),
    ]
    assert parse_devices("error: cannot connect to daemon\n") == []


def test_a_cut_listing_gives_what_is_whole() -> None:
    whole = parse_devices(LISTING)
    for end in range(len(LISTING)):
        seen = parse_devices(LISTING[:end])
        assert seen[:-1] == whole[: len(seen)][:-1]


def test_every_state_but_ready_has_advice() -> None:
    for one in parse_devices(LISTING):
        assert (one.advice is None) == (one.state == "ready")
    assert "accept this computer's key" in str(Listed("x", "unauthorized").advice)
    assert "plug it in again" in str(Listed("x", "offline").advice)
    assert "open USB devices" in str(Listed("x", "no permissions").advice)


def test_news_of_adbs_server_are_no_errors_of_a_program() -> None:
    news = (
        b"adb server version (41) doesn't match this client (39); killing...\n"
        b"* daemon not running; starting now at tcp:5037\n* daemon started successfully\n"
    )
    program = b"an error\n* daemon of the program's own\n"
    assert without_server_news(news + program) == program
    assert without_server_news(program) == program


@pytest.mark.parametrize(
    "said",
    [
        "error: device 'x' not found\n",
        "adb: device offline\n",
        "error: device offline\n",
        "adb: error: failed to get feature set: device unauthorized.\nThis adb server's\n",
        "adb: error: failed to copy 'a' to 'b': couldn't read from device\na: 0 files pushed\n",
        "adb: error: failed to read copy response: EOF\na: 1 file pushed, 0 skipped.\n",
        "error: protocol fault (couldn't read status): Connection reset by peer\n",
        "[  0%] /data/local/tmp/mvkit/x\n",
        "",
    ],
)
def test_what_a_lost_phone_sounds_like(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb_tool, "state_of", lambda serial: "offline")
    error = failure("x\x1b[2J", "push a", said)
    assert isinstance(error, DeviceLost)
    assert str(error).startswith("x?[2J: the connection ended: could not push a (offline); unplug")


@pytest.mark.parametrize(
    "said",
    [
        "adb: error: failed to copy 'a' to 'b': remote No space left on device\n0 files pushed\n",
        "a: 1 file pushed\nadb: error: failed to copy 'a' to 'b': remote Read-only file system\n",
        "adb: error: remote object '/data/x' does not exist\n",
    ],
)
def test_what_a_refusal_sounds_like(said: str) -> None:
    error = failure("x\x1b[2J", "push a", said)
    assert not isinstance(error, DeviceLost)
    assert str(error).startswith("x?[2J: could not push a: ") and "files pushed" not in str(error)


def test_a_long_path_does_not_hide_that_the_phone_has_gone() -> None:
    path = "/a-long-name" * 30
    said = f"adb: error: failed to copy '{path}' to '{path}': couldn't read from device\n"
    assert isinstance(failure("x", "push a", said), DeviceLost)


HOSTILE = "-s; $(touch pwned) `x` \x1b[2J'\" é"

STUB = """#!/bin/sh
if [ "$1" = devices ]; then
    printf 'List of devices attached\\n%s\\tdevice\\n\\n' "$HOSTILE"
    exit
fi
for one in "$@"; do printf '%s\\0' "$one"; done >"$0.called"
echo "error: device '$2' not found" >&2
exit 1
"""


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An adb that knows one device, of a hostile serial, and notes how it was called."""
    program = tmp_path / "bin" / "adb"
    program.parent.mkdir()
    program.write_text(STUB)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOSTILE", HOSTILE)
    monkeypatch.chdir(tmp_path)
    return program


def test_a_hostile_serial_arrives_as_it_is_and_is_shown_harmless(stub: Path) -> None:
    device = open_device(HOSTILE)
    with pytest.raises(DeviceLost) as caught:
        device.describe()
    called = Path(f"{stub}.called").read_text().split("\0")
    assert called[:3] == ["-s", HOSTILE, "shell"]
    assert "\x1b" not in str(caught.value) and "touch pwned" in str(caught.value)
    assert not Path("pwned").exists()


def test_a_phone_that_goes_while_it_is_asked_is_listed_without_an_answer(stub: Path) -> None:
    seen = find_devices()
    assert [(one.serial, one.state, one.info) for one in seen] == [(HOSTILE, "no answer", None)]
    assert "could not read its state" in str(seen[0].advice)


def test_an_adb_that_fails_is_told_in_one_line(stub: Path) -> None:
    stub.write_text("#!/bin/sh\necho 'adb: error: \x1bcannot bind\nmore' >&2; exit 1\n")
    with pytest.raises(DeviceError) as caught:
        find_devices()
    assert str(caught.value) == "adb devices: ?cannot bind; try adb kill-server"


def test_a_missing_adb_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="adb is not installed; install it"):
        find_devices()
    assert open_device("host").serial == "host"  # which needs none
