"""How long `mvkit --help` takes, and which imports it spends that on.

python -m benchmarks.cli_startup [--rounds 20]
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time

from benchmarks.report import publish

HELP = [sys.executable, "-c", "import sys; sys.argv = ['mvkit', '--help']; "
        "from mobilevit_kit.cli import main; main()"]  # fmt: skip
BARE = [sys.executable, "-c", "pass"]
SHOWN = 12


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - started


def import_times() -> list[tuple[str, float]]:
    """The modules whose own import takes longest, in ms."""
    command = [HELP[0], "-X", "importtime", *HELP[1:]]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", log)
    own = sorted(((name, int(us) / 1e3) for us, name in found), key=lambda row: -row[1])
    return own[:SHOWN]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    runs = [(seconds(BARE), seconds(HELP)) for _ in range(options.rounds)]
    bare, shown = (1e3 * statistics.median(column) for column in zip(*runs, strict=True))
    rows = [
        {"what": "mvkit --help", "ms": round(shown, 1)},
        {"what": "the interpreter alone", "ms": round(bare, 1)},
        *({"what": f"import of {name}", "ms": round(ms, 1)} for name, ms in import_times()),
    ]
    publish("cli_startup", f"medians of {options.rounds} interleaved runs", ("click",), rows)


if __name__ == "__main__":
    main()
