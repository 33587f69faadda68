"""What a file was made from and with: digests, tool versions, the machine, its memory."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .manifest import HostRecord
from .recipe import Recipe
from .targets import Target, target_named

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn


def request_digest(recipe: Recipe, identity: Any, layout: str, embed_preprocessing: bool) -> str:
    """One digest over all that determines a converted file: options, code and tool versions.

    `identity` is plain data that determines the network and its inputs. Needs no torch, so that
    a repeated command can return before torch is imported.
    """
    document = {
        "recipe": asdict(recipe),
        "source": identity,
        "layout": layout,
        "embed_preprocessing": embed_preprocessing,
        "code": code_digest(Path(__file__).parent),
        "tools": tool_versions(target_named(recipe.target)),
    }
    canonical = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


@functools.cache
def code_digest(folder: Path) -> str:
    """One digest over the Python sources of a package."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def tool_versions(backend: Target) -> dict[str, str]:
    """Versions of Python and of the packages that had a part in a file; absent ones left out."""
    versions = {"python": platform.python_version()}
    for package in ("mobilevit-kit", *backend.TOOLS):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def arrays_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over the names, types, shapes and values of arrays."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def state_digest(module: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and values of a module's parameters and buffers.

    Buffers that a checkpoint leaves out (anchors, position tables) are part of what a file holds.
    """
    import torch

    digest = hashlib.sha256()
    entries = {**dict(module.named_buffers(remove_duplicate=False)), **module.state_dict()}
    for name, tensor in sorted(entries.items()):
        if not isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor!r}".encode())
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def host() -> HostRecord:
    processor = platform.processor()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return HostRecord(platform.system(), platform.machine(), processor, os.cpu_count() or 1)


def reset_peak_memory() -> None:
    """Linux can forget a process's peak, so that one process can report several conversions."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mib() -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1)
