"""nn.Module to artifact, and artifact to numbers on this host.

    from converters import convert
    artifact = convert(my_module, torch.randn(1, 3, 224, 224), target="tflite")

Knows no particular model. Importing the package imports neither torch nor a vendor tool.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import MvkitError

if TYPE_CHECKING:
    from .artifact import Artifact, load_artifact
    from .conversion import convert
    from .preprocessing import Preprocessing

__all__ = ["Artifact", "MvkitError", "Preprocessing", "convert", "load_artifact"]

_MODULES = {
    "Artifact": "artifact",
    "Preprocessing": "preprocessing",
    "convert": "conversion",
    "load_artifact": "artifact",
}


def __getattr__(name: str) -> Any:
    # On first use: a command that needs the errors alone, as those that list phones and runs do,
    # does not wait for NumPy. No module may bear one of these names, since importing it would
    # put it in the name's place.
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
