"""A real PostgreSQL server for tests, with its data and its socket in a folder of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# In one test process, which starts it once.
postgresql_only = pytest.mark.xdist_group("postgresql")


@dataclass
class Server:
    """A PostgreSQL server with its data and its socket in one folder, as an unprivileged user."""

    programs: Path
    folder: Path
    user: str | None  # to become; None if this process is unprivileged itself
    stores: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def run(self, program: str, *args: object) -> None:
        command = [str(self.programs / program), *map(str, args)]
        done = subprocess.run(
            command, user=self.user, cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        settings = ("listen_addresses=", f"unix_socket_directories={self.folder}", "fsync=off")
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data")]
        for setting in settings:
            command += ["-c", setting]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, user=self.user, cwd=self.folder, stdout=log, stderr=log
            )
        ready = [str(self.programs / "pg_isready"), "-q", "-h", str(self.folder)]
        for _ in range(600):
            if subprocess.run(ready).returncode == 0:
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        """Disconnects whoever is connected."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)

    def restart(self) -> None:
        self.stop()
        self.start()

    def new_store(self) -> str:
        """The URL of an empty store: a schema, which costs a thousandth of a database's files."""
        self.stores += 1
        name = f"runs{self.stores}"
        self.run(
            "psql", "-q", "-h", self.folder, "-U", "mvkit", "-d", "postgres",
            "-c", f"CREATE SCHEMA {name}",
        )  # fmt: skip
        return f"postgresql://mvkit@/postgres?host={self.folder}&options=-csearch_path%3D{name}"


def _programs() -> Path | None:
    """Where initdb and postgres are; Debian keeps them away from PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if found := shutil.which("initdb"):
        folders.append(Path(found).parent)
    return next((one for one in folders if (one / "postgres").exists()), None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A running server."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    # Not below pytest's own folder, which is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="mvkit-postgresql-"))
    user = None
    if os.geteuid() == 0:  # initdb refuses root
        user = pwd.getpwnam("nobody").pw_name
        shutil.chown(folder, user)
    server = Server(programs, folder, user)
    try:
        server.run("initdb", "-D", folder / "data", "-U", "mvkit", "--auth=trust", "--no-sync")
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)
