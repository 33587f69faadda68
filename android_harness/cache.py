"""Where the kit keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """`name` in MVKIT_CACHE, or else in XDG_CACHE_HOME's or ~/.cache's folder mvkit.

    As the XDG base directory specification says, a relative XDG_CACHE_HOME is ignored.
    """
    own = os.environ.get("MVKIT_CACHE")
    if own:
        return Path(own) / name
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "mvkit" / name
