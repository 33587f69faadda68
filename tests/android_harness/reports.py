"""Reports of the kit's runners, as they print them."""

from __future__ import annotations

import json
from typing import Any

# As mvkit-litert printed it, shortened; the lines of the library went to standard error.
LINES: tuple[dict[str, Any], ...] = (
    {"event": "runner", "protocol": 1, "runtime": "litert", "emulated": False},
    {"event": "load", "at": 90, "ns": 2386998},
    {"event": "compile", "at": 2394492, "ns": 33883084},
    {"event": "first", "at": 37559580, "ns": 115908655},
    {"event": "delegate", "name": "xnnpack", "whole": True},
    {"event": "warmup", "at": 153493992, "ns": 91128683},
    {"event": "warmup", "at": 244647000, "ns": 74686463},
    {"event": "timed", "count": 3},
    {"event": "sample", "at": 521474444, "ns": 65962720},
    {"event": "sample", "at": 587437594, "ns": 55744425},
    {"event": "sample", "at": 643182199, "ns": 139895314},
    {"event": "operator", "name": "0", "kind": "Transpose (ND, X32)", "ns": 90000, "calls": 3},
    {"event": "operator", "name": "1", "kind": "Sigmoid (NC)", "ns": 3000000, "calls": 3},
    {"event": "output", "bytes": 4000, "crc32": 3184495954},
    {"event": "memory", "peak_kib": 48736},
    {"event": "end", "lines": 15},
)


def written(lines: Any = LINES) -> str:
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def changed(place: int, **values: Any) -> str:
    """The report with other values in one of its lines."""
    return written([line | values if i == place else line for i, line in enumerate(LINES)])
