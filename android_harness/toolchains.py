"""How a runner is compiled for an ABI, and what has to be installed for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from converters.errors import UsageError

from .bundles import sources_folder

# The oldest Android whose dynamic linker looks beside the program for its libraries.
_ANDROID_PLATFORM = "android-24"
_NDK_VARIABLES = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK")

# Starts the program with the libraries beside it. Every device has sh.
_RUN = """\
#!/bin/sh
here=${{0%/*}}
exec {command} "$@"
"""


@dataclass(frozen=True)
class Toolchain:
    """A compiler with CMake's arguments for it.

    `system` are the libraries of the system that a bundle has to bring along, `command` is what
    starts the program, given its name.
    """

    abi: str
    compiler: str  # the first line of its --version
    arguments: tuple[str, ...]
    system: tuple[Path, ...]
    command: str

    def script(self, program: str) -> str:
        return _RUN.format(command=self.command.format(program=program))


def toolchain(abi: str, ndk: Path | None) -> Toolchain:
    """Raises UsageError, in one line with what to install, where something is missing."""
    if shutil.which("cmake") is None:
        raise UsageError("cmake is not installed", "install it with: apt install cmake")
    if abi == "host":
        return _host()
    if abi == "linux-arm64":
        return _linux_arm64()
    return _android(abi, ndk)


def _host() -> Toolchain:
    arguments = ("-DCMAKE_CXX_COMPILER=c++",)
    return Toolchain("host", _version("c++", "g++"), arguments, (), '"$here/{program}"')


def _linux_arm64() -> Toolchain:
    compiler = "aarch64-linux-gnu-g++"
    version = _version(compiler, "g++-aarch64-linux-gnu")
    loader = "ld-linux-aarch64.so.1"
    names = (
        loader, "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1",
        "libstdc++.so.6", "libgcc_s.so.1",
    )  # fmt: skip
    return Toolchain(
        "linux-arm64",
        version,
        (f"-DCMAKE_TOOLCHAIN_FILE={sources_folder() / 'linux-arm64.cmake'}",),
        tuple(_library(compiler, name) for name in names),
        f'"$here/{loader}" --library-path "$here" "$here/{{program}}"',
    )


def _android(abi: str, ndk: Path | None) -> Toolchain:
    """Not tried: no NDK could be had where this was written."""
    named = next((os.environ[name] for name in _NDK_VARIABLES if os.environ.get(name)), None)
    folder = ndk or (Path(named) if named else None)
    if folder is None:
        raise UsageError(
            "no Android NDK is known",
            "install one (sdkmanager 'ndk;27.2.12479018') and pass --ndk or set ANDROID_NDK_HOME",
        )
    file = folder / "build/cmake/android.toolchain.cmake"
    if not file.is_file():
        raise UsageError(f"{folder}: no Android NDK, {file.relative_to(folder)} is missing")
    return Toolchain(
        abi,
        _ndk_version(folder),
        (
            f"-DCMAKE_TOOLCHAIN_FILE={file}",
            f"-DANDROID_ABI={abi}",
            f"-DANDROID_PLATFORM={_ANDROID_PLATFORM}",
            "-DANDROID_STL=c++_shared",
        ),
        (_android_standard_library(folder),),
        'env LD_LIBRARY_PATH="$here" "$here/{program}"',
    )


def _android_standard_library(ndk: Path) -> Path:
    place = "toolchains/llvm/prebuilt/*/sysroot/usr/lib/aarch64-linux-android/libc++_shared.so"
    file = next(ndk.glob(place), None)
    if file is None:
        raise UsageError(f"{ndk}: no Android NDK, {place} is missing")
    return file


def _ndk_version(folder: Path) -> str:
    properties = folder / "source.properties"
    lines = properties.read_text(encoding="utf-8").splitlines() if properties.is_file() else []
    revision = next((line for line in lines if line.startswith("Pkg.Revision")), "")
    return f"Android NDK {revision.partition('=')[2].strip() or 'of unknown version'}"


def _version(compiler: str, package: str) -> str:
    if shutil.which(compiler) is None:
        raise UsageError(f"{compiler} is not installed", f"install it with: apt install {package}")
    shown = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    return shown.stdout.splitlines()[0]


def _library(compiler: str, name: str) -> Path:
    """Where the compiler finds a library of its system."""
    shown = subprocess.run(
        [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    file = Path(shown.stdout.strip())
    if not file.is_file():
        raise UsageError(f"{compiler} has no {name}", "install: apt install libc6-dev-arm64-cross")
    return file
