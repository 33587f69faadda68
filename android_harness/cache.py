"""Where the kit keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path

from converters.errors import MissingExtraError


def cache_folder(name: str) -> Path:
    """`name` in MVKIT_CACHE, or else in the user's cache (~/.cache/mvkit, by XDG_CACHE_HOME)."""
    own = os.environ.get("MVKIT_CACHE")
    if own:
        return Path(own) / name
    try:
        import platformdirs
    except ModuleNotFoundError:
        raise MissingExtraError("platformdirs", "lab") from None
    return platformdirs.user_cache_path("mvkit") / name
