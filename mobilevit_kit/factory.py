"""A user's own network, from `FILE.py:attribute` or `package.module:attribute`.

The attribute may be a function or class that is called without arguments, or a module itself.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.errors import MissingExtraError, UsageError
from converters.provenance import state_digest

if TYPE_CHECKING:
    from torch import nn

_OUR_OWN = ("mobilevit_kit", "converters", "android_harness")
_local_modules: set[str] = set()  # what the last user's file brought into `sys.modules`


@dataclass(frozen=True)
class UserModule:
    module: nn.Module
    code_digest: str  # over the file and the local files that it imported
    state_digest: str  # over the weights, which may come from a file that the factory reads


def is_factory(name: str) -> bool:
    """Whether a model's name is one of these rather than a reference model's."""
    return ":" in name or name.endswith(".py") or "/" in name


def load_user_module(name: str, seed: int) -> UserModule:
    """Imports, calls and checks what `name` says, with random generators that start at `seed`.

    Raises UsageError for whatever is wrong with the file, in one line that names it.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingExtraError("torch", "models") from None

    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise UsageError(
            f"'{name}' does not say which attribute makes the network",
            f"write {name.strip(':') or 'my_net.py'}:make_model",
        )
    # Two files in different folders may each import a `layers` of their own.
    for old in _local_modules:
        sys.modules.pop(old, None)
    _local_modules.clear()
    known = set(sys.modules)
    try:
        with _seeded(seed), _local_imports(place):
            code = _import(place)
            made = _attribute(code, place, attribute)
            if not isinstance(made, torch.nn.Module):
                made = _call(made, name)
    finally:
        _local_modules.update(_local_sources(known))
    if not isinstance(made, torch.nn.Module):
        raise UsageError(f"{name} returns a {type(made).__name__}, not a torch.nn.Module")
    _check_module(made, name)
    return UserModule(made, _code_digest(code, known), state_digest(made))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The generators that initial weights come from, started at `seed` for the block."""
    import torch

    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)


@contextmanager
def _local_imports(place: str) -> Iterator[None]:
    """Imports as in `python FILE`: from the file's own folder first, and from the current one for
    a package. Bytecode is not written there.
    """
    folder = str(Path(place).resolve().parent) if place.endswith(".py") else str(Path.cwd())
    bytecode = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = bytecode
        if folder in sys.path:
            sys.path.remove(folder)


def _import(place: str) -> ModuleType:
    try:
        return _import_file(Path(place)) if place.endswith(".py") else _import_package(place)
    except UsageError:
        raise
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise UsageError(f"{error.filename or place}{line}: {error.msg}") from error
    except ModuleNotFoundError as error:
        raise UsageError(f"{place} needs the module '{error.name}', which is missing") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{place} fails when it is imported: {_line(error)}") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    # A file called random.py or jax.py must not stand in for the library.
    name = path.stem
    if name in sys.modules or PathFinder.find_spec(name, sys.path[1:]) is not None:
        name = f"user_{name}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    code = importlib.util.module_from_spec(spec)
    sys.modules[name] = code
    spec.loader.exec_module(code)
    return code


def _import_package(place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            raise UsageError(f"there is no module '{place}' here or installed") from None
        raise


def _attribute(code: ModuleType, place: str, attribute: str) -> Any:
    found: Any = code
    for part in attribute.split("."):
        if not hasattr(found, part):
            close = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"did you mean {close[0]}?" if close else None
            raise UsageError(f"{place} has no attribute '{part}'", hint)
        found = getattr(found, part)
    return found


def _call(made: Any, name: str) -> Any:
    if not callable(made):
        raise UsageError(f"{name} is a {type(made).__name__}, not a network or a factory")
    try:
        return made()
    except (Exception, SystemExit) as error:
        raise UsageError(f"{name} fails when it is called: {_line(error)}") from error


def _check_module(module: nn.Module, name: str) -> None:
    """Refuses networks that are not in Python, or whose values are not here."""
    import torch
    from torch.nn.parameter import is_lazy

    if isinstance(module, torch.jit.ScriptModule):
        raise UsageError(f"{name} is TorchScript", "give the network that it was compiled from")
    for kind, tensors in (
        ("parameter", module.named_parameters()),
        ("buffer", module.named_buffers()),
    ):
        for key, tensor in tensors:
            if is_lazy(tensor):
                raise UsageError(
                    f"{name} has a lazy {kind} '{key}' without a shape",
                    "run the network on an example before returning it",
                )
            if tensor.device.type != "cpu":
                raise UsageError(
                    f"{name} has its {kind} '{key}' on {tensor.device}",
                    "return the network on the CPU",
                )


def _local_sources(known: set[str]) -> dict[str, Path]:
    """Modules that have been imported since, which nobody installed, with their files."""
    installed = tuple(Path(p).resolve() for p in (sys.prefix, sys.base_prefix))
    found = {}
    for name in set(sys.modules) - known:
        origin = getattr(sys.modules[name], "__file__", None)
        if not origin or not origin.endswith(".py") or name.split(".")[0] in _OUR_OWN:
            continue
        path = Path(origin).resolve()
        if not any(path.is_relative_to(folder) for folder in installed):
            found[name] = path
    return found


def _code_digest(code: ModuleType, known: set[str]) -> str:
    """Over the sources that the network may come from."""
    sources = set(_local_sources(known).values())
    if code.__file__:
        sources.add(Path(code.__file__).resolve())
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__
