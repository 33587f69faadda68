"""nn.Module to artifact, and artifact to numbers on this host.

    from converters import convert
    artifact = convert(my_module, torch.randn(1, 3, 224, 224), target="tflite")

Knows no particular model. Importing the package imports neither torch nor a vendor tool.
"""

from converters.artifact import Artifact, load_artifact
from converters.convert import convert
from converters.errors import MvkitError
from converters.preprocessing import Preprocessing

__all__ = ["Artifact", "MvkitError", "Preprocessing", "convert", "load_artifact"]
