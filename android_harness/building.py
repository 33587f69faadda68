"""Building a bundle: compile the runner, put what it needs beside it, keep it by its content."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from converters.artifact import hash_file, staging
from converters.errors import UsageError, one_line

from .bundles import (
    PROGRAMS,
    RECORD,
    Bundle,
    bundles_folder,
    read_bundle,
    sources_digest,
    sources_folder,
    write_record,
)
from .runtimes import Runtime, runtime
from .toolchains import Toolchain, toolchain

_KEY_DIGITS = 16


def build_bundle(
    target: str, abi: str, *, ndk: Path | None = None, runtime_folder: Path | None = None
) -> Bundle:
    """The bundle for a target and ABI, built unless the cache has it.

    `ndk` and `runtime_folder` are for Android. Raises UsageError, in one line with what to
    install, where something is missing.
    """
    tools = toolchain(abi, ndk)
    libraries = runtime(target, abi, runtime_folder)
    place = bundles_folder() / _key(target, tools, libraries)
    if (place / RECORD).is_file():
        return read_bundle(place / RECORD)
    with staging(place.parent) as stage:
        program = _compile(PROGRAMS[target], tools, libraries, stage / "build")
        made = stage / place.name
        _fill(made / PROGRAMS[target], program, tools, libraries)
        bundle = Bundle(
            place / PROGRAMS[target],
            target,
            abi,
            libraries.name,
            tools.compiler,
            sources_digest(),
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_record(bundle, made)
        try:
            made.rename(place)
        except OSError:
            if not place.is_dir():  # or else another process was faster
                raise
    return read_bundle(place / RECORD)


def _key(target: str, tools: Toolchain, libraries: Runtime) -> str:
    parts = {
        "target": target,
        "abi": tools.abi,
        "compiler": tools.compiler,
        "script": tools.script(PROGRAMS[target]),
        "sources": sources_digest(),
        "libraries": {file.name: hash_file(file) for file in (*libraries.libraries, *tools.system)},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:_KEY_DIGITS]


def _compile(program: str, tools: Toolchain, libraries: Runtime, folder: Path) -> Path:
    configure = [
        "cmake", "-S", str(sources_folder()), "-B", str(folder),
        "-DCMAKE_BUILD_TYPE=Release", *tools.arguments,
    ]  # fmt: skip
    if program == PROGRAMS["executorch"]:
        configure.append(f"-DMVKIT_EXECUTORCH={libraries.folder}")
    for command in (configure, ["cmake", "--build", str(folder), "--target", program]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = f"{done.stdout}\n{done.stderr}".splitlines()
            errors = [line for line in lines if "error" in line.lower()]
            raise UsageError(
                f"{program} does not build for {tools.abi} with {tools.compiler}: "
                f"{one_line(errors[0] if errors else lines[-1])}"
            )
    return folder / program


def _fill(folder: Path, program: Path, tools: Toolchain, libraries: Runtime) -> None:
    folder.mkdir(parents=True)
    for file in (program, *libraries.libraries, *tools.system):
        shutil.copyfile(file, folder / file.name)
        (folder / file.name).chmod(0o755)  # the loader is a program, too
    run = folder / "run"
    run.write_text(tools.script(program.name), encoding="utf-8")
    run.chmod(0o755)
