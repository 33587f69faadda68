"""How long the commands that look for phones take, with eight fake phones connected."""

from __future__ import annotations

from .part import Effort, Part, command, timed, timing_row
from .phones import adb_version, connected_phones

PHONES = 8
METHOD = (
    f"whole commands in processes of their own, in turn, {PHONES} fake phones behind the real adb; "
    "what the phones' programs compute runs on the same processor"
)
GOALS = {"--help": 0.3, "devices": 1.0, "devices --json": 1.0, "clean": 1.0}


def measure(effort: Effort) -> Part:
    with connected_phones(PHONES) as phones:
        commands = {
            "--help": ["--help"],
            "devices": ["devices"],
            "devices --json": ["devices", "--json"],
            "clean": ["clean", "--device", phones[0].serial],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(effort.rounds):
            for name, args in commands.items():
                times[name] += timed(command(*args), 1)
    rows = [timing_row(f"mvkit {name}", found, GOALS[name]) for name, found in times.items()]
    return Part(METHOD, rows, {"adb": adb_version()})
