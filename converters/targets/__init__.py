"""From a deployed module to a saved file: one module a target.

A target is a module with `SUFFIX` (of the file), `TOOLS` (packages whose versions the manifest
records), `FILE_DTYPES` (types that the format has not, with their substitutes), `RUNTIME` (the
module of `converters.runtimes` that runs its files) and `save`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from ..errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

TARGETS = ("tflite",)


class Target(Protocol):
    """What this package's modules provide."""

    SUFFIX: str
    TOOLS: tuple[str, ...]
    FILE_DTYPES: Mapping[str, str]
    RUNTIME: str

    def require(self) -> None:
        """Raises MissingExtraError unless the converter is installed."""

    def save(self, module: nn.Module, examples: Mapping[str, Tensor], path: Path) -> None:
        """Converts `module`, called with `examples` as keyword arguments, into the file `path`.

        Raises ConversionError when the vendor's converter refuses the module.
        """


def target_named(name: str) -> Target:
    """The module of a target; raises UsageError with a suggestion for an unknown name."""
    if name not in TARGETS:
        close = difflib.get_close_matches(name, TARGETS, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(TARGETS)}"
        raise UsageError(f"unknown target '{name}'", hint)
    return cast(Target, importlib.import_module(f"converters.targets.{name}"))
