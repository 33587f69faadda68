"""Bundles: a native runner with every library that it needs, for one target and ABI.

    runners/<key>/bundle.json
    runners/<key>/mvkit-litert/     what is pushed: run, the program, libraries

The key is a digest of what the bundle was made of: sources, libraries, compiler.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from converters.errors import UsageError, one_line

from .cache import cache_folder

# The programs, and the names of their folders, by target.
PROGRAMS = {"tflite": "mvkit-litert", "executorch": "mvkit-executorch"}
ABIS = ("host", "linux-arm64", "arm64-v8a")
RECORD = "bundle.json"
_LARGEST_RECORD = 2**16


@dataclass(frozen=True)
class Bundle:
    """A bundle in the cache. `path` is the folder to push; `built` is UTC, ISO 8601."""

    path: Path
    target: str
    abi: str
    runtime: str  # "ai-edge-litert 2.3.0"
    compiler: str
    sources: str  # digest of the sources
    built: str

    @property
    def is_current(self) -> bool:
        """Whether its sources are those of this kit: others may speak another protocol."""
        return self.sources == sources_digest()

    @property
    def size(self) -> int:
        return sum(file.stat().st_size for file in self.path.iterdir())


def sources_folder() -> Path:
    return Path(str(importlib.resources.files("android_harness") / "native"))


def sources_digest() -> str:
    """SHA-256 over the names and contents of the sources."""
    digest = hashlib.sha256()
    for file in sorted(sources_folder().iterdir()):
        if file.is_file():
            digest.update(
                f"{file.name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
            )
    return digest.hexdigest()


def bundles_folder() -> Path:
    return cache_folder("runners")


def list_bundles() -> list[Bundle]:
    """Those in the cache, by target and ABI, the newest first.

    Raises UsageError for a damaged one.
    """
    folder = bundles_folder()
    bundles = [read_bundle(record) for record in folder.glob(f"*/{RECORD}")]
    bundles.sort(key=lambda bundle: bundle.built, reverse=True)
    return sorted(bundles, key=lambda bundle: (bundle.target, ABIS.index(bundle.abi)))


def find_bundle(target: str, abis: Sequence[str]) -> Bundle:
    """The newest bundle of this kit's sources for the first of `abis` that has one.

    Raises UsageError with what to build.
    """
    current = [one for one in list_bundles() if one.target == target and one.is_current]
    for abi in abis:
        for bundle in current:
            if bundle.abi == abi:
                return bundle
    wanted = next((abi for abi in abis if abi in ABIS), None)
    if wanted is None:
        raise UsageError(
            f"no runner can be built for a device with {one_line(', '.join(abis), 80)}",
            f"there are runners for {', '.join(ABIS)}",
        )
    raise UsageError(
        f"there is no runner of {target} files for {wanted}",
        f"build it with: mvkit runner build --abi {wanted}",
    )


def read_bundle(record: Path) -> Bundle:
    """Raises UsageError for a record that is not whole."""
    try:
        if record.stat().st_size > _LARGEST_RECORD:
            raise ValueError("too large")
        fields = json.loads(record.read_text(encoding="utf-8"))
        fields["path"] = record.parent / PROGRAMS[fields["target"]]
        bundle = Bundle(**fields)
        datetime.fromisoformat(bundle.built)
        if bundle.abi not in ABIS or not (bundle.path / "run").is_file():
            raise ValueError("not whole")
        if not all(isinstance(value, str) for name, value in fields.items() if name != "path"):
            raise ValueError("not text")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(
            f"{record}: no runner's record ({one_line(error)})", f"remove {record.parent}"
        ) from None
    return bundle


def write_record(bundle: Bundle, folder: Path) -> None:
    fields = {name: value for name, value in asdict(bundle).items() if name != "path"}
    (folder / RECORD).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
