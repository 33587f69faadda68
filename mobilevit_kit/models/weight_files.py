"""Weight files on disk: a .safetensors, .pt or .pth file to a dictionary of tensors.

Nothing in a file is ever executed: pickles are read with torch's restricted unpickler, which
knows tensors and plain containers and refuses everything else.

Checkpoints of training runs wrap the weights, as in `{"model": ..., "epoch": 299}`; they are
unwrapped. Where a run saved averaged (EMA) weights beside the raw ones, the averaged ones are
taken, because they are what its authors evaluated.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.artifact import hash_file
from converters.errors import MissingExtraError, UsageError

if TYPE_CHECKING:  # an unchanged conversion looks at a file's name and digest, without torch
    from torch import Tensor

SUFFIXES = (".safetensors", ".pt", ".pth")

# In order of preference.
_WRAPPERS = (
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "ema",
    "model_state_dict",
    "state_dict",
    "model",
    "net",
    "module",
)
_RESAVE = (
    "save its state_dict() alone, as .safetensors or with torch.save(model.state_dict(), FILE)"
)


def check_weight_file(path: Path) -> None:
    """Raises UsageError for a name or a file that cannot hold weights, before it is parsed."""
    try:
        if path.is_dir():
            raise UsageError(f"the weights file {path} is a folder")
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"weights must be a .safetensors, .pt or .pth file, not '{path}'",
                "the other choices are 'loud' and 'timm'",
            )
        if not path.exists():
            raise UsageError(f"the weights file {path} does not exist")
        if not path.is_file():  # opening a pipe would wait for its other end
            raise UsageError(f"the weights file {path} is not a regular file")
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise UsageError(f"the weights file {path} cannot be read: {error.strerror}") from error
    if not head:
        raise UsageError(f"the weights file {path} is empty")
    if head.startswith(b"version https://git-lfs"):
        raise UsageError(
            f"the weights file {path} is a Git LFS pointer, not the weights",
            "fetch them with: git lfs pull",
        )


def file_sha256(path: Path) -> str:
    """Raises UsageError for a file that cannot be read."""
    try:
        return hash_file(path)
    except OSError as error:
        raise UsageError(f"the weights file {path} cannot be read: {error.strerror}") from error


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, on the CPU, without wrappers.

    Raises UsageError for a file that is missing, damaged, of an unknown kind, or that holds
    anything but weights; MissingExtraError for .safetensors without that package.
    """
    check_weight_file(path)
    content = _safetensors(path) if path.suffix.lower() == ".safetensors" else _pickle(path)
    return _tensors(_unwrap(content), path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise MissingExtraError("safetensors", "models") from None
    try:
        return load_file(path)
    except Exception as error:  # of a damaged header the reader makes several kinds
        raise UsageError(
            f"the weights file {path} is truncated or not in the safetensors format: "
            f"{_first_sentence(error)}"
        ) from error


def _pickle(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch warns of is refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise nearly anything
        wanted = _wanted_global(error)
        if wanted:
            raise UsageError(
                f"the weights file {path} holds more than weights: unpickling it needs {wanted}, "
                "which could run code",
                _RESAVE,
            ) from error
        if "TorchScript" in str(error):
            raise UsageError(
                f"the weights file {path} is a TorchScript program, not weights", _RESAVE
            ) from error
        # The other kinds' messages are of the unpickler's inside, such as a KeyError's "101".
        reason = f": {_first_sentence(error)}" if isinstance(error, RuntimeError) else ""
        raise UsageError(
            f"the weights file {path} is truncated or not a PyTorch checkpoint{reason}"
        ) from error


def _wanted_global(error: Exception) -> str | None:
    """The function or class that a refused pickle asked for, from torch's message."""
    match = re.search(r"GLOBAL (\S+)|Unsupported class (\S+)", str(error))
    return (match[1] or match[2]).rstrip(".,") if match else None


def _first_sentence(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].partition(". ")[0][:200]


def _unwrap(content: Any) -> Any:
    while isinstance(content, Mapping):
        inner = next(
            (content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None
        )
        if inner is None:
            break
        content = inner
    return content


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    from torch import Tensor

    if not isinstance(content, Mapping):
        raise UsageError(
            f"the weights file {path} holds no state dict, but an object of type "
            f"{type(content).__name__}",
            _RESAVE,
        )
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UsageError(
                f"the weights file {path} holds no state dict: its entry '{name}' is of type "
                f"{type(value).__name__}",
                _RESAVE,
            )
    if not content:
        raise UsageError(f"the weights file {path} holds no tensors")
    return dict(content)
