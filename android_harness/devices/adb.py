"""A phone or emulator, through the adb binary: over USB or TCP."""

from __future__ import annotations

import posixpath
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from converters.errors import DeviceError, one_line

from ..conditions import ANDROID_SCRIPT, SECTION, parse_conditions
from ..records import Conditions, DeviceInfo
from .adb_tool import (
    QUICK,
    call,
    end,
    failure,
    last_words,
    lost,
    start,
    state_of,
    without_server_news,
)
from .base import Completed, inside
from .digests import digest_of, digest_of_text, size_of
from .following import TimeUp, TooMuchOutput, follow
from .marked_output import MarkedOutput
from .properties import device_info, parse_properties

FOLDER = "/data/local/tmp/mvkit"

_ENTER = f"mkdir -p {FOLDER} && cd {FOLDER} &&"
_STOP = f"""
count=0
for one in /proc/[0-9]*; do
    if [ "$one/cwd" -ef {FOLDER} ] && kill -9 "${{one#/proc/}}" 2>/dev/null; then
        count=$((count + 1))
    fi
done
echo $count"""
_DIGESTS = f"{FOLDER}/.digests"
_STATUS = "%i %s %z"  # inode, size, time of the last change: another content has another
_SLOWEST = 2**20  # bytes a second; adb over a poor network
_TCP = re.compile(r".+:\d+")


class AdbDevice:
    """Implements `devices.base.Device`."""

    folder = FOLDER

    def __init__(self, serial: str) -> None:
        self.serial = serial

    def describe(self) -> DeviceInfo:
        return device_info(self.serial, parse_properties(self._ask("getprop")))

    def conditions(self) -> Conditions:
        return parse_conditions(self._ask(ANDROID_SCRIPT))

    def look(self) -> tuple[DeviceInfo, Conditions]:
        """Both in one call: with many phones to be listed each call is waited for."""
        text = self._ask(f"getprop\n{ANDROID_SCRIPT}")
        properties = text.partition(f"\n{SECTION} ")[0]
        return device_info(self.serial, parse_properties(properties)), parse_conditions(text)

    def push(self, local: Path, name: str) -> bool:
        """Whether a file is there is told by its content's digest.

        The digest is kept on the phone beside the inode, size and change time that the files
        had after they were pushed: hashing 200 MB takes a phone seconds, this a moment.
        """
        target = f"{FOLDER}/{inside(name)}"
        remote, parent = shlex.quote(target), shlex.quote(posixpath.dirname(target))
        record = f"{_DIGESTS}/{digest_of_text(name)}"
        listing = f"find {remote} -type f -exec stat -c '{_STATUS}' {{}} +"
        with ThreadPoolExecutor(1) as pool:  # the digest is computed while the phone answers
            local_digest = pool.submit(digest_of, local)
            known = self._ask(f"cat {record} && echo && {listing} | sort")
            digest = local_digest.result()
        before, _, now = known.partition("\n\n")
        if before.split("\n") == [digest, *now.strip().split("\n")]:
            return False
        what = f"push {name}"
        self._must(f"rm -rf {remote} {record} && mkdir -p {_DIGESTS} {parent}", what)
        self._copy(["push", str(local.resolve()), target], size_of(local), what)
        self._must(f"{{ echo {digest}; {listing} | sort; }} >{record}", what)
        return True

    def pull(self, name: str, local: Path) -> None:
        remote = f"{FOLDER}/{inside(name)}"
        size = self._number(f"wc -c <{shlex.quote(remote)}", f"pull {name}")
        with tempfile.TemporaryDirectory(prefix=".mvkit-", dir=local.parent) as staging:
            staged = Path(staging, "pulled")
            self._copy(["pull", remote, str(staged)], size, f"pull {name}")
            staged.replace(local)

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Before Android 7 the errors are in the output, where the program wrote them."""
        what = f"run {one_line(command[0])}"
        output = MarkedOutput(on_line)
        script = f"{shlex.join(command)} </dev/null"
        try:
            return self._shell(output, script, what, timeout, _ENTER)
        except DeviceError:
            raise
        except (TimeUp, TooMuchOutput) as stopped:
            self._stop(output.process)
            raise self._refused(what, f"{stopped}; it was stopped") from None
        except BaseException:  # Ctrl-C, or an error in on_line
            with suppress(DeviceError):
                self._stop(output.process)
            raise

    def remove(self, name: str) -> None:
        self._must(f"rm -rf {shlex.quote(f'{FOLDER}/{inside(name)}')}", f"remove {name}")

    def stop_leftovers(self) -> int:
        # Programs are started in the folder, so that their working directory tells them.
        return self._number(_STOP, "stop what was left running")

    def clean(self) -> None:
        self.stop_leftovers()
        self._must(f"rm -rf {FOLDER}", f"remove {FOLDER}")

    def wait(self, timeout: float) -> None:
        """A phone on TCP is connected anew: adb's server would try only every ten seconds."""
        limit = time.monotonic() + timeout
        while True:
            with suppress(DeviceError, TimeUp):
                state = state_of(self.serial)
                if state == "ready" and self._ask("getprop sys.boot_completed").strip() == "1":
                    return
                if state != "ready" and _TCP.fullmatch(self.serial):
                    call(["disconnect", self.serial])
                    call(["connect", self.serial])
            if time.monotonic() > limit:
                raise lost(self.serial, f"it did not come back within {timeout:g} s")
            time.sleep(0.2)

    def _ask(self, script: str) -> str:
        """The output of a script that may fail in parts."""
        return self._quick(script, "read its state").output

    def _must(self, script: str, what: str) -> str:
        done = self._quick(script, what)
        if done.code != 0:
            raise self._refused(what, done.errors or done.output)
        return done.output

    def _number(self, script: str, what: str) -> int:
        output = self._must(script, what).strip()
        if not re.fullmatch(r"[0-9]{1,18}", output):
            raise self._refused(what, f"no number: {output}")
        return int(output)

    def _quick(self, script: str, what: str) -> Completed:
        try:
            return self._shell(MarkedOutput(), script, one_line(what), QUICK)
        except (TimeUp, TooMuchOutput) as stopped:
            raise lost(self.serial, f"could not {one_line(what)}: {stopped}") from None

    def _refused(self, what: str, said: str) -> DeviceError:
        reason = one_line(said) or "no reason given"
        return DeviceError(f"{one_line(self.serial)}: could not {one_line(what)}: {reason}")

    def _copy(self, arguments: Sequence[str], size: int, what: str) -> None:
        limit = 30 + size / _SLOWEST
        try:
            code, said = call(["-s", self.serial, *arguments], timeout=limit)
        except TimeUp as stopped:
            raise lost(self.serial, f"could not {one_line(what)}: {stopped}") from None
        if code != 0:
            raise failure(self.serial, one_line(what), said)

    def _shell(
        self, output: MarkedOutput, script: str, what: str, timeout: float, before: str = ""
    ) -> Completed:
        errors = bytearray()
        process = start(["-s", self.serial, "shell", output.marked(script, before)])
        try:
            follow(process, timeout=timeout, output=output.feed, errors=errors.extend)
        finally:
            end(process)
        said = without_server_news(bytes(errors)).decode("utf-8", "replace")
        if output.code is None:
            if output.process is None and last_words(said):
                raise failure(self.serial, what, said)
            raise lost(self.serial, f"could not {what}: the connection ended before it did")
        if output.process is None:
            raise self._refused(f"use {FOLDER}", said)
        return Completed(output.code, output.text, said)

    def _stop(self, leader: int | None) -> None:
        """Ends a command and what it has started: Android's daemon gave it a process group."""
        if leader is None:
            self.stop_leftovers()
        else:
            self._ask(f"kill -9 -{leader}")
