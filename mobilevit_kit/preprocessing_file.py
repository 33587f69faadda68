"""A user's own preprocessing, from a TOML or JSON file or from command-line flags.

Both go through one check, so that both refuse the same things in the same words.
"""

from __future__ import annotations

import difflib
import json
import reprlib
import stat
import tomllib
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.errors import UsageError
from converters.preprocessing import Preprocessing

_KEYS = ("crop", "interpolation", "mean", "std", "channel_order")
_LONGEST_FILE = 1_000_000  # bytes; a real one has some hundred


def read_preprocessing(path: Path, size: tuple[int, int]) -> Preprocessing:
    """Reads `crop`, `interpolation`, `mean`, `std` and `channel_order` from a .toml or .json file.

    Each key may be absent and then has the default of `Preprocessing`. `size` is the network's
    (height, width). Raises UsageError that names the file and the key.
    """
    return check_preprocessing(_settings(path), size, lambda key: f"{path}: {key}")


def preprocessing_from_flags(
    size: tuple[int, int],
    *,
    crop: float | None = None,
    interpolation: str | None = None,
    mean: str | None = None,
    std: str | None = None,
    channel_order: str | None = None,
) -> Preprocessing | None:
    """The same from `--crop`, `--mean 0.5,0.5,0.5` and so on; None where no flag was given."""
    flags: dict[str, object] = {
        "crop": crop,
        "interpolation": interpolation,
        "mean": None if mean is None else _numbers(mean),
        "std": None if std is None else _numbers(std),
        "channel_order": channel_order,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    if not given:
        return None
    return check_preprocessing(given, size, lambda key: "--" + key.replace("_", "-"))


def check_preprocessing(
    settings: Mapping[str, object], size: tuple[int, int], label: Callable[[str], str]
) -> Preprocessing:
    """Builds a `Preprocessing` from settings of unknown origin; `label` names a key for people."""
    for key in settings:
        if key not in _KEYS:
            close = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the keys are {', '.join(_KEYS)}"
            raise UsageError(f"{label(reprlib.repr(key))} is not a key of preprocessing", hint)

    chosen: dict[str, Any] = {}
    kinds = typing.get_type_hints(Preprocessing)
    for key in ("interpolation", "channel_order"):
        if key in settings:
            names = typing.get_args(kinds[key])
            if settings[key] not in names:
                raise _wrong(label(key), f"one of {', '.join(names)}", settings[key])
            chosen[key] = settings[key]

    if "crop" in settings:
        if not _within(settings["crop"], 0.01, 1.0):
            raise _wrong(label("crop"), "a number from 0.01 to 1", settings["crop"])
        chosen["crop"] = float(typing.cast(float, settings["crop"]))

    # One value a channel, in ranges whose quotients float32 holds
    channels = Preprocessing(size, **chosen).channels
    chosen["mean"] = (0.0,) * channels
    chosen["std"] = (1.0,) * channels
    for key, low, high in (("mean", -1e6, 1.0), ("std", 1e-6, 1e6)):
        if key in settings:
            values = settings[key]
            if (
                not isinstance(values, Sequence)
                or len(values) != channels
                or not all(_within(value, low, high) for value in values)
            ):
                count = "1 number" if channels == 1 else f"{channels} numbers"
                wanted = f"a list of {count} from {low:g} to {high:g}, one a channel"
                raise _wrong(label(key), wanted, values, "pixels are in 0..1 here, not in 0..255")
            chosen[key] = tuple(float(value) for value in values)
    return Preprocessing(size, **chosen)


def _within(value: object, low: float, high: float) -> bool:
    """Whether this is a number (no bool, no NaN) in a range."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _wrong(label: str, wanted: str, value: object, hint: str | None = None) -> UsageError:
    return UsageError(f"{label} must be {wanted}, not {reprlib.repr(value)}", hint)


def _numbers(text: str) -> list[float | str]:
    """Splits "0.5,0.5,0.5"; what is no number stays text, for the check to refuse by name."""
    numbers: list[float | str] = []
    for part in text.split(","):
        try:
            numbers.append(float(part))
        except ValueError:
            numbers.append(part)
    return numbers


def _settings(path: Path) -> Mapping[str, object]:
    suffix = path.suffix.lower()
    if suffix not in (".toml", ".json"):
        raise UsageError(f"{path}: preprocessing is read from a .toml or .json file")
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a file")
        if status.st_size > _LONGEST_FILE:
            raise UsageError(f"{path} is too large for a description of preprocessing")
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors may put a mark in front
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    try:
        settings = tomllib.loads(text) if suffix == ".toml" else json.loads(text)
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply") from None
    except ValueError as error:  # what both parsers raise, with the line
        raise UsageError(f"{path} is not valid {suffix[1:].upper()}: {error}") from None
    if not isinstance(settings, dict):
        raise UsageError(f"{path} must hold an object with the keys {', '.join(_KEYS)}")
    return settings
