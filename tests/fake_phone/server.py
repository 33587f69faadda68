"""An adb server of one's own, which fake phones are connected to."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_adb_server(home: Path) -> Iterator[Mapping[str, str]]:
    """The environment in which adb has a server, keys and devices of its own.

    It neither sees nor disturbs the server that a developer's phones hang on.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        "ANDROID_ADB_SERVER_PORT": str(port),
        "HOME": str(home),
        "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554",  # it does not look for emulators
        "ADB_MDNS": "0",
    }
    environment = {**os.environ, **variables}
    subprocess.run(["adb", "start-server"], env=environment, check=True, capture_output=True)
    try:
        yield variables
    finally:
        subprocess.run(["adb", "kill-server"], env=environment, capture_output=True)


def adb(*arguments: str) -> str:
    """What adb prints."""
    done = subprocess.run(["adb", *arguments], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr
