"""Checkpoints of the Hugging Face hub: downloaded once, cached, verified at every use.

The hub publishes the SHA-256 of each large file as its ETag. huggingface_hub's cache names the
file after it, so that a cached file is verified without asking the hub again: a file that was
once fetched needs no network. Deleting it fetches the current one.
"""

from __future__ import annotations

import importlib
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from converters.errors import MissingExtraError, UsageError

from .weight_files import file_sha256

FILE = "model.safetensors"

# Seconds to wait for the hub: each step of the request, and all of it. The second bound is ours,
# because neither the resolution of names nor the number of addresses has one.
_STEP_PATIENCE = 5.0
_PATIENCE = 8.0

_SHA256 = re.compile(r"[0-9a-f]{64}")
_T = TypeVar("_T")


def fetch(
    repository: str, *, endpoint: str | None = None, cache: Path | None = None
) -> tuple[Path, str]:
    """The checkpoint file of a hub repository, such as `timm/mobilevit_xs.cvnets_in1k`.

    Returns its path in the cache and its SHA-256, which is the one that the hub published.
    `endpoint` and `cache` default to huggingface_hub's, which the environment variables
    HF_ENDPOINT and HF_HOME set.

    Raises UsageError without a network and for a file with another digest than the published one.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise MissingExtraError("huggingface_hub", "models") from None

    with _quiet():
        found = huggingface_hub.try_to_load_from_cache(repository, FILE, cache_dir=cache)
        path = Path(found) if isinstance(found, str) else None
        digest = _cached_digest(path) if path else None
        if path is None or digest is None:
            path, digest = _download(repository, endpoint, cache)
    if file_sha256(path) != digest:
        # The file behind the cache's links: without it, the cache counts as empty.
        raise UsageError(
            f"the downloaded {path.resolve()} is damaged: its SHA-256 is not the one that the hub "
            f"publishes for {FILE} of {repository}",
            "delete this file and try again",
        )
    return path, digest


def _download(repository: str, endpoint: str | None, cache: Path | None) -> tuple[Path, str]:
    """Fetches the file into the cache; with it the published digest, not yet compared."""
    import huggingface_hub

    try:
        # Asked first by ourselves, because hf_hub_download tries again for minutes when offline.
        url = huggingface_hub.hf_hub_url(repository, FILE, endpoint=endpoint)
        metadata = _within(
            _PATIENCE,
            lambda: huggingface_hub.get_hf_file_metadata(
                url, timeout=_STEP_PATIENCE, endpoint=endpoint
            ),
        )
        digest = _published_digest(metadata.etag, repository)
        path = huggingface_hub.hf_hub_download(
            repository, FILE, cache_dir=cache, endpoint=endpoint, etag_timeout=_STEP_PATIENCE
        )
    except UsageError:
        raise
    except Exception as error:  # its HTTP client's errors, and that client changes
        raise UsageError(
            f"{FILE} of {repository} could not be fetched from the hub: {_reason(error)}",
            f"bring {FILE} from https://huggingface.co/{repository} and pass it with "
            "--weights FILE",
        ) from error
    return Path(path), digest


def _cached_digest(path: Path) -> str | None:
    """The digest in the name of the cached file; None where the cache has no symbolic links."""
    if not path.is_symlink():
        return None
    name = path.readlink().name
    return name if _SHA256.fullmatch(name) else None


def _published_digest(etag: str | None, repository: str) -> str:
    if etag is None or not _SHA256.fullmatch(etag):
        raise UsageError(
            f"the hub publishes no SHA-256 for {FILE} of {repository}, so it cannot be verified",
            "if HF_ENDPOINT names a mirror, try the hub itself",
        )
    return etag


def _within(seconds: float, call: Callable[[], _T]) -> _T:
    """The result of `call`, or TimeoutError; a call that hangs is left to a daemon thread."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except TimeoutError:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds") from None


def _reason(error: Exception) -> str:
    """One line of what went wrong."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"it answered with HTTP status {status}"
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without huggingface_hub's progress bars and log lines; the kit reports by itself."""
    utils: Any = importlib.import_module("huggingface_hub.utils")
    shown, verbosity = not utils.are_progress_bars_disabled(), utils.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        utils.disable_progress_bars()
        utils.logging.set_verbosity(logging.CRITICAL)
        try:
            yield
        finally:
            utils.logging.set_verbosity(verbosity)
            if shown:
                utils.enable_progress_bars()
