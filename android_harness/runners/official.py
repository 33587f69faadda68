"""What the vendors' programs have in common: where they are, and on which cores they run."""

from __future__ import annotations

from pathlib import Path

from converters.errors import UsageError


def local_program(program: str) -> Path | None:
    """The file here, to be pushed; None for a path on the device.

    Raises UsageError for a path that can be neither.
    """
    path = Path(program)
    if path.is_file():
        return path
    if not program.startswith("/"):
        raise UsageError(f"{program}: no such file, and no path on a device, which starts with /")
    return None


def pinned(cores: int | None, program: str) -> list[str]:
    """The start of a command line; `cores` is a mask."""
    place = local_program(program)
    path = program if place is None else f"./{place.name}"
    return [*(["taskset", f"{cores:x}"] if cores is not None else []), path]
