"""This host, under the contract of a phone: everything can be tried without one."""

from __future__ import annotations

import contextlib
import filecmp
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from converters.errors import DeviceError, MissingExtraError, one_line

from ..records import Clock, Conditions, DeviceInfo
from .base import Completed, inside
from .following import Lines, TimeUp, TooMuchOutput, follow

try:
    import platformdirs
    import psutil
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "psutil", "lab") from None

SERIAL = "host"


class HostDevice:
    """Implements `devices.base.Device` in a folder of the user's cache."""

    serial = SERIAL

    def __init__(self) -> None:
        self.folder = str(platformdirs.user_cache_path("mvkit").resolve() / "host")

    def describe(self) -> DeviceInfo:
        return DeviceInfo(
            serial=SERIAL,
            kind="host",
            model=_processor(),
            os=_system(),
            abis=("host", platform.machine()),
        )

    def conditions(self) -> Conditions:
        battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
        return Conditions(
            moment=datetime.now(UTC),
            temperatures=_temperatures(),
            battery_level=None if battery is None else round(battery.percent),
            charging=None if battery is None else battery.power_plugged,
            clocks=_clocks(),
        )

    def push(self, local: Path, name: str) -> bool:
        target = self._path(name)
        if _same(local, target):
            return False
        self._discard(target)
        with self._refusals(f"push {name}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            if local.is_dir():
                shutil.copytree(local, target)
            else:
                shutil.copy2(local, target)
        return True

    def pull(self, name: str, local: Path) -> None:
        with (
            self._refusals(f"pull {name}"),
            tempfile.TemporaryDirectory(prefix=".mvkit-", dir=local.parent) as staging,
        ):
            staged = Path(staging, "pulled")
            shutil.copyfile(self._path(name), staged)
            staged.replace(local)

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        output, errors = bytearray(), bytearray()

        def give(line: bytes) -> None:
            if on_line is not None:
                on_line(line.decode("utf-8", "replace"))

        lines = Lines(give)

        def take(data: bytes) -> None:
            output.extend(data)
            lines.feed(data)

        what = f"run {one_line(command[0])}"
        with self._refusals(what):
            Path(self.folder).mkdir(parents=True, exist_ok=True)
        try:
            process = subprocess.Popen(
                list(command),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:  # what a shell says, and its exit codes
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return Completed(code, "", f"{command[0]}: {error.strerror}\n")
        with process:
            try:
                code = follow(process, timeout=timeout, output=take, errors=errors.extend)
            except (TimeUp, TooMuchOutput) as stopped:
                raise self._refused(what, f"{stopped}; it was stopped") from None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        lines.last()
        status = 128 - code if code < 0 else code
        said, complained = (text.decode("utf-8", "replace") for text in (output, errors))
        return Completed(status, said, complained)

    def remove(self, name: str) -> None:
        self._discard(self._path(name))

    def stop_leftovers(self) -> int:
        count = 0
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.cwd() == self.folder:
                    process.kill()
                    count += 1
        return count

    def clean(self) -> None:
        self.stop_leftovers()
        self._discard(Path(self.folder))

    def wait(self, timeout: float) -> None:
        pass  # it is never away

    def _path(self, name: str) -> Path:
        return Path(self.folder, inside(name))

    def _discard(self, path: Path) -> None:
        with self._refusals(f"remove {path.name}"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _refusals(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, shutil.Error) as error:
            raise self._refused(what, getattr(error, "strerror", None) or str(error)) from None

    def _refused(self, what: str, reason: str) -> DeviceError:
        return DeviceError(f"{SERIAL}: could not {one_line(what)}: {one_line(reason)}")


def _same(local: Path, target: Path) -> bool:
    """Whether both hold the same content, byte for byte."""
    if not local.is_dir():
        return target.is_file() and filecmp.cmp(local, target, shallow=False)
    if not target.is_dir():
        return False
    ours, theirs = ({p.relative_to(top) for p in top.rglob("*")} for top in (local, target))
    files = [str(name) for name in ours if (local / name).is_file()]
    match = filecmp.cmpfiles(local, target, files, shallow=False)[0]
    return ours == theirs and len(match) == len(files)


def _processor() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line[:10] == "model name")
    return platform.processor() or platform.machine()


def _system() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return platform.platform()


def _temperatures() -> dict[str, float]:
    """By "chip/sensor"; virtual machines and other systems have none."""
    if not hasattr(psutil, "sensors_temperatures"):
        return {}
    return {
        f"{chip}/{sensor.label or number}": sensor.current
        for chip, sensors in psutil.sensors_temperatures().items()
        for number, sensor in enumerate(sensors)
    }


def _clocks() -> dict[int, Clock]:
    """From psutil's MHz; its maximum of 0 is one that the system does not tell."""
    try:
        cores = psutil.cpu_freq(percpu=True)
    except (OSError, NotImplementedError):
        return {}
    return {
        number: Clock(round(core.current * 1000), round(core.max * 1000) or None)
        for number, core in enumerate(cores or ())
    }
