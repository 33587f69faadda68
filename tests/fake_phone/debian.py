"""Programs of Debian for another architecture, unpacked into a folder.

The machine's own list of packages and architectures is neither used nor changed: apt gets folders
of its own, which needs no rights. Its sources are the machine's.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_SECONDS = 120  # 10 MB of lists and the packages


class NotToBeHad(Exception):
    """Why something that a test needs is not there, in one line."""


def unpack(packages: Sequence[str], architecture: str, folder: Path) -> None:
    """Downloads packages and unpacks them into `folder`, which must not be there yet."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise NotToBeHad(f"{tool} is not here: programs for {architecture} come from Debian")
    work = folder.with_name(f"{folder.name}-apt")
    for part in ("lists/partial", "archives/partial", "downloaded"):
        (work / part).mkdir(parents=True, exist_ok=True)
    apt = ["apt-get", "--quiet=2"]
    for option in (
        f"Dir::State={work}",
        f"Dir::Cache={work}",
        "Dir::State::status=/dev/null",  # nothing is installed
        f"APT::Architecture={architecture}",
        f"APT::Architectures::={architecture}",
        "APT::Sandbox::User=root",  # apt's user may not write below a test's folder
        "Acquire::Languages=none",
    ):
        apt += ["--option", option]
    _call([*apt, "update"], work / "downloaded")
    _call([*apt, "download", *packages], work / "downloaded")
    staged = work / "unpacked"
    for file in sorted((work / "downloaded").glob("*.deb")):
        _call(["dpkg-deb", "--extract", str(file), str(staged)], work)
    staged.rename(folder)


def _call(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise NotToBeHad(str(late)) from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise NotToBeHad(f"{command[0]}: {said or 'no reason given'}")
