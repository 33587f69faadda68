"""A user's own network, from `FILE.py:attribute` or `package.module:attribute`.

The attribute may be a function or class that is called without arguments, or a module itself.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from converters.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class UserModule:
    module: nn.Module
    code_digest: str  # over the file and the local files that it imported


def is_factory(name: str) -> bool:
    """Whether a model's name is one of these rather than a reference model's."""
    return ":" in name or name.endswith(".py") or "/" in name


def load_user_module(name: str, seed: int) -> UserModule:
    """Imports, calls and checks what `name` says; torch's generator starts at `seed`.

    Raises UsageError for whatever is wrong with the file, in one line that names it.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingExtraError("torch", "tflite") from None

    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise UsageError(
            f"'{name}' does not say which attribute makes the network",
            f"write {name.strip(':') or 'my_net.py'}:make_model",
        )
    known = set(sys.modules)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        code = _import(place)
        made = _attribute(code, place, attribute)
        if not isinstance(made, torch.nn.Module):
            if not callable(made):
                raise UsageError(f"{name} is a {type(made).__name__}, not a network or a factory")
            try:
                made = made()
            except Exception as error:
                raise UsageError(f"{name} fails when it is called: {_line(error)}") from error
    if not isinstance(made, torch.nn.Module):
        raise UsageError(f"{name} returns a {type(made).__name__}, not a torch.nn.Module")
    return UserModule(made, _code_digest(code, known))


def _import(place: str) -> ModuleType:
    # As with `python FILE`: the file's own folder; for a package, where the command runs.
    folder = str(Path(place).resolve().parent) if place.endswith(".py") else str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        path = Path(place)
        if not path.is_file():
            raise UsageError(f"{place}: no such file")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        code = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, code)
        spec.loader.exec_module(code)
        return code
    except UsageError:
        raise
    except SyntaxError as error:
        raise UsageError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            raise UsageError(f"there is no module '{place}' here or installed") from None
        raise UsageError(f"{place} needs the module '{error.name}', which is missing") from error
    except Exception as error:
        raise UsageError(f"{place} fails when it is imported: {_line(error)}") from error
    finally:
        sys.path.remove(folder)


def _attribute(code: ModuleType, place: str, attribute: str) -> Any:
    found: Any = code
    for part in attribute.split("."):
        if not hasattr(found, part):
            close = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"did you mean {close[0]}?" if close else None
            raise UsageError(f"{place} has no attribute '{part}'", hint)
        found = getattr(found, part)
    return found


def _code_digest(code: ModuleType, known: set[str]) -> str:
    """Over the sources that the network may come from and that nobody installed."""
    installed = tuple(str(Path(p).resolve()) for p in (sys.prefix, sys.base_prefix))
    sources = {Path(code.__file__).resolve()} if code.__file__ else set()
    for name in set(sys.modules) - known:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and origin.endswith(".py") and not origin.startswith(installed):
            sources.add(Path(origin).resolve())
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__
