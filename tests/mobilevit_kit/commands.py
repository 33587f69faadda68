"""What the tests of the command line share: how a call is made, and what a stranger brings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilevit_kit.source import InputText, SourceRequest

# The network of somebody who has never seen this kit: (1, 3, 32, 48) -> (1, 7).
NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8, 7)

    def forward(self, image):
        return self.fc(torch.relu(self.conv(image)).mean((2, 3)))


def make():
    return Net()


instance = Net()
"""
TO_TFLITE = ("--target", "tflite")
NET_INPUT = ("--input", "1x3x32x48")
NET_RECIPE = ("--mean", "0.4,0.5,0.6", "--std", "0.2,0.3,0.4", "--channel-order", "bgr")


@dataclass(frozen=True)
class Result:
    """What a call of the command came to."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """All that stands on standard error, which must be one line for people."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("mvkit: "), self.err
        return lines[0].removeprefix("mvkit: ")

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Result]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too: what a refused command must leave alone."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def own(attribute: str = "make", **options: Any) -> SourceRequest:
    """A request for the network above, which lies in every workplace as `net.py`."""
    inputs = (InputText(None, (1, 3, 32, 48)),)
    return SourceRequest(f"net.py:{attribute}", **{"inputs": inputs, **options})
