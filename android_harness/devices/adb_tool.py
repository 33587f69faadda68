"""The adb binary: calls, and what its words mean.

adb is called rather than its protocol spoken: the server that a developer's other tools use stays
the one that owns the phones.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from converters.errors import DeviceError, DeviceLost, UsageError, one_line

from .following import TimeUp

QUICK = 15.0  # seconds for a call that only asks; a cold start of adb's server takes 3

# What adb says to standard error about its own server, before anything else.
_SERVER_NEWS = re.compile(rb"^(?:\* daemon [^\n]*\n|adb server version [^\n]* killing\.\.\.\n)+")
_GONE = re.compile(
    r"device (?:'.*' )?not found|no devices/emulators found|device (?:still )?"
    r"(?:offline|unauthorized|authorizing|connecting)|couldn't read from device|: EOF|closed$"
    r"|protocol fault|[Cc]onnection reset|[Bb]roken pipe|cannot connect to daemon"
)

_REASON = re.compile(r"(?:adb: error: |error: |adb: )(?:failed to copy '.*' to '.*': )?(.*)")

_UNPLUG = "unplug it and plug it in again"
_ADVICE = {
    "unauthorized": "unlock its screen and accept this computer's key in the dialog",
    "authorizing": "unlock its screen and accept this computer's key in the dialog",
    "connecting": "wait a moment and try again",
    "offline": f"{_UNPLUG}, or restart adb: adb kill-server",
    "no permissions": "let your user open USB devices (Debian: apt install "
    f"android-sdk-platform-tools-common, then {_UNPLUG})",
}
_NOT_ANDROID = "start Android on it; measuring needs a running system"


@dataclass(frozen=True)
class Listed:
    """A line of `adb devices`: `state` is "ready" for a phone that takes commands."""

    serial: str
    state: str

    @property
    def advice(self) -> str | None:
        """What to do about the state; None for a phone that is ready."""
        return None if self.state == "ready" else _ADVICE.get(self.state, _NOT_ANDROID)


def adb_program() -> str:
    found = shutil.which("adb")
    if found is None:
        raise UsageError(
            "adb is not installed",
            "install it (Debian: apt install adb; else Android's platform-tools) and have it "
            "on the PATH",
        )
    return found


def start(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Starts adb with pipes for its output, out of reach of the terminal's Ctrl-C."""
    return subprocess.Popen(
        [adb_program(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def call(arguments: Sequence[str], *, timeout: float = QUICK) -> tuple[int, str]:
    """Runs adb to its end: its exit code and all that it printed.

    Which of its streams an error goes to differs between versions. Raises TimeUp (seconds).
    """
    process = start(arguments)
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise TimeUp(timeout) from None
    finally:
        end(process)
    text = without_server_news(errors) + output
    return process.returncode, text.decode("utf-8", "replace")


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def without_server_news(errors: bytes) -> bytes:
    return _SERVER_NEWS.sub(b"", errors, count=1)


def list_devices() -> list[Listed]:
    """What adb's server knows. Raises DeviceError when it cannot be asked."""
    try:
        code, text = call(["devices"])
    except TimeUp as stopped:
        raise DeviceError(f"adb devices: {stopped}", "try adb kill-server") from None
    if code != 0:
        raise DeviceError(f"adb devices: {last_words(text)}", "try adb kill-server")
    return parse_devices(text)


def parse_devices(text: str) -> list[Listed]:
    """Serial, a tab and a state, in a line each below the heading; a serial may hold spaces."""
    found = []
    for line in text.partition("List of devices attached")[2].split("\n"):
        serial, tab, state = line.rpartition("\t")
        if not tab or not state.strip():
            continue
        if state.startswith("no permissions"):
            state = "no permissions"
        found.append(Listed(serial, "ready" if state.strip() == "device" else state.strip()))
    return found


def state_of(serial: str) -> str:
    """The state of a device: as `Listed`'s, or "not connected"."""
    states = [one.state for one in list_devices() if one.serial == serial]
    return states[0] if states else "not connected"


def failure(serial: str, what: str, said: str) -> DeviceError:
    """The error for an adb that did not do `what` (a verb phrase) and printed `said`."""
    shown = one_line(serial)
    reason = _reason(said)
    # An adb that fails and gives no reason lost the device while it was copying.
    if not reason or _GONE.search(reason):
        return lost(serial, f"the connection ended: could not {what}")
    return DeviceError(f"{shown}: could not {what}: {one_line(reason)}")


def lost(serial: str, what: str) -> DeviceLost:
    """The error for a device that has gone, with its state now and what to do about it."""
    try:
        state = state_of(serial)
    except DeviceError:
        state = "adb does not answer"
    advice = Listed(serial, state).advice if state in _ADVICE else None
    now = "" if state == "ready" else f" ({one_line(state)})"
    return DeviceLost(f"{one_line(serial)}: {what}{now}", advice)


def last_words(said: str) -> str:
    """The reason that adb gives, for people."""
    return one_line(_reason(said))


def _reason(said: str) -> str:
    """What adb gives as its reason, whole, without the paths of a copy: they may be long."""
    found = (_REASON.match(line) for line in said.splitlines())
    return next((match[1] for match in found if match), "")
