"""CoreML packages on Apple's framework, through coremltools; macOS only.

It computes on the CPU alone (compute units CPU_ONLY), so that a verdict is about the file and not
about a GPU or Neural Engine with a precision of its own. This module was written from coremltools'
documentation and is tested with a stand-in for the framework; it was not run on a Mac.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..artifact import Arrays
from ..errors import MissingExtraError, RuntimeFailure, UnverifiableError
from ..manifest import GraphSummary
from .base import Port, SessionRequest
from .mil.features import Feature, read_features
from .mil.package import open_package
from .mil.program import Program, Value, read_program

if TYPE_CHECKING:
    from PIL.Image import Image


class FrameworkSession:
    """A package that the framework has compiled; a request's threads are the framework's affair."""

    def __init__(self, file: str) -> None:
        if platform.system() != "Darwin":
            raise UnverifiableError("the CoreML framework is on macOS only; use the evaluator")
        try:
            import coremltools as ct
        except ModuleNotFoundError:
            raise MissingExtraError("coremltools", "coreml") from None
        self.runtime = f"CoreML framework (CPU), coremltools {version('coremltools')}"
        package = open_package(Path(file))
        features = read_features(package)
        self._program = read_program(package)
        self._function = features.function
        self._features = features.inputs
        self.inputs = tuple(map(_port, features.inputs))
        self.outputs = tuple(map(_port, features.outputs))
        self._model = ct.models.MLModel(file, compute_units=ct.ComputeUnit.CPU_ONLY)

    def run(self, inputs: Arrays) -> Arrays:
        """Arrays as the evaluator gives them.

        Of a classifier that is the label as an array of rank 0, and its probabilities in the order
        of the labels.
        """
        images = {one.name: one for one in self._features if one.kind == "image"}
        results: dict[str, Any] = self._model.predict(
            {
                name: _as_image(array, images[name]) if name in images else array
                for name, array in inputs.items()
            }
        )
        return {name: self._as_array(value) for name, value in results.items()}

    def summary(self) -> GraphSummary:
        """Operators of the file; the framework does not say how it divides them."""
        operators = self._program.operators(self._function)
        return GraphSummary({name: n for name, n in operators.most_common() if name != "const"})

    def _as_array(self, value: Any) -> NDArray[Any]:
        if isinstance(value, dict):
            return np.array([value[label] for label in _labels(self._program, self._function)])
        return np.asarray(value)


def open_session(request: SessionRequest) -> FrameworkSession:
    return FrameworkSession(request.file)


def _port(feature: Feature) -> Port:
    return Port(feature.name, feature.shape, feature.dtype)


def _as_image(array: NDArray[Any], feature: Feature) -> Image:
    """(1, C, H, W) as a picture: RGB whatever the order of the channels, or grey."""
    from PIL import Image

    planes = array[0, ::-1] if feature.colour == "BGR" else array[0]
    if len(planes) == 1:
        return Image.fromarray(planes[0] if feature.dtype == "uint8" else planes[0].astype("f4"))
    return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))


def _labels(program: Program, function: str) -> tuple[Any, ...]:
    """The classes of the program's classifier, in its order."""
    for operation in program.functions[function].block.walk():
        if operation.type == "classify":
            (classes,) = operation.inputs["classes"]
            if isinstance(classes, Value):
                labels = classes.read()
                if isinstance(labels, tuple):
                    return tuple(np.asarray(one).item() for one in labels)
    raise RuntimeFailure("the model gives a dictionary, but its program has no list of classes")
