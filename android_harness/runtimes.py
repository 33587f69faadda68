"""The vendors' runtimes for an ABI: the libraries of a bundle, and headers to compile against.

Those of Linux come from the vendors' Python packages: for this host the installed ones, for 64-bit
Arm the same version, downloaded by pip. There is none for Android: the folder is given.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from converters.artifact import staging
from converters.errors import MissingExtraError, UsageError, one_line

from .cache import cache_folder

_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64")


@dataclass(frozen=True)
class _Package:
    """A vendor's package: its module, the extra that brings it, the libraries in it."""

    name: str
    module: str
    extra: str
    libraries: tuple[str, ...]


_PACKAGES = {
    "tflite": _Package("ai-edge-litert", "ai_edge_litert", "verify", ("libLiteRt.so",)),
    "executorch": _Package(
        "executorch",
        "executorch",
        "executorch",
        tuple(
            f"lib/lib{name}.so"
            for name in (
                "executorch", "executorch_kernels_optimized", "executorch_kernels_quantized",
                "executorch_backend_xnnpack", "executorch_threadpool",
            )
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Runtime:
    """`folder` is the package's; its headers are in include/, where it has them."""

    name: str  # "ai-edge-litert 2.3.0"
    folder: Path
    libraries: tuple[Path, ...]


def runtime(target: str, abi: str, given: Path | None) -> Runtime:
    """Raises UsageError, in one line with what to do, where it is not to be had."""
    package = _PACKAGES[target]
    if abi == "arm64-v8a":
        if given is None:
            raise UsageError(
                f"no package brings {target}'s runtime for Android",
                "pass --runtime with the folder that holds it (docs/runners.md)",
            )
        return _whole(f"{package.name} of {given.name}", package, given)
    if given is not None:
        raise UsageError(f"--runtime is for --abi arm64-v8a; {abi} takes the vendor's package")
    found = importlib.util.find_spec(package.module)
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(package.name, package.extra)
    version = importlib.metadata.version(package.name)
    folder = Path(found.submodule_search_locations[0])
    if abi == "linux-arm64":
        folder = _downloaded(package, version) / package.module
    return _whole(f"{package.name} {version}", package, folder)


def _whole(name: str, package: _Package, folder: Path) -> Runtime:
    libraries = tuple(folder / library for library in package.libraries)
    missing = next((library for library in libraries if not library.is_file()), None)
    if missing is not None:
        raise UsageError(f"{name}: has no {missing.relative_to(folder)} in {folder}")
    return Runtime(name, folder, libraries)


def _downloaded(package: _Package, version: str) -> Path:
    """The unpacked package for 64-bit Arm, which stays in the cache."""
    tag = f"{sys.version_info.major}{sys.version_info.minor}"
    place = cache_folder("runtimes") / f"{package.name}-{version}-cp{tag}-linux-arm64"
    if place.is_dir():
        return place
    with staging(place.parent) as stage:
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
            "--only-binary=:all:", f"--python-version={tag}", f"--dest={stage}",
            *(f"--platform={platform}" for platform in _PLATFORMS),
            f"{package.name}=={version}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(stage.glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise UsageError(
                f"pip cannot download {package.name} {version} for 64-bit Arm: "
                f"{one_line(lines[0]) if lines else 'it does not say why'}"
            )
        with zipfile.ZipFile(wheels[0]) as archive:
            archive.extractall(stage / "unpacked")
        try:
            (stage / "unpacked").rename(place)
        except OSError:
            if not place.is_dir():  # or else another process was faster
                raise
    return place
