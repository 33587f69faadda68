"""A model's inputs and outputs as its description declares them to an app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...errors import ArtifactError, UsageError, one_line
from .constants import Array
from .limits import check_shape
from .package import Package

_ARRAY_DTYPES = {
    65552: "float16", 65568: "float32", 65600: "float64", 131080: "int8", 131104: "int32",
}  # fmt: skip
_COLOURS: Mapping[int, tuple[Literal["RGB", "BGR", "GRAY"], str]] = {
    10: ("GRAY", "uint8"),
    20: ("RGB", "uint8"),
    30: ("BGR", "uint8"),
    40: ("GRAY", "float16"),
}
_CLASSES = {"int64Type": "int64", "stringType": "str", "dictionaryType": "float32"}


@dataclass(frozen=True)
class Feature:
    """An input or output.

    An image is an array (1,C,H,W) whose channels stand in the order of `colour`. `shape` is the
    default one; `choices` are the only ones accepted, or `ranges` the bounds of each size, where
    None is no bound; without either it is fixed. An empty shape of an output is not declared.
    """

    name: str
    kind: Literal["tensor", "image", "class"]  # class: the label or probabilities of a classifier
    shape: tuple[int, ...]
    dtype: str  # NumPy's name
    colour: Literal["RGB", "BGR", "GRAY"] | None = None
    choices: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    default: float | None = None  # the value of an optional input that is not given

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an input may have this shape."""
        if self.choices:
            return shape in self.choices
        if self.ranges:
            return len(shape) == len(self.ranges) and all(
                low <= size and (high is None or size <= high)
                for size, (low, high) in zip(shape, self.ranges, strict=True)
            )
        return shape == self.shape

    def checked(self, culprit: object, array: Array | None) -> Array:
        """An array that is given for this input, in the declared type.

        Raises UsageError, which names the file `culprit`, when the input is missing, has another
        shape than the model takes, or numbers that its type does not hold.
        """
        name = one_line(self.name, 60)
        if array is None:
            if self.default is None:
                raise UsageError(f"{culprit}: its input {name} is missing")
            return np.full(self.shape, self.default, self.dtype)
        if not self.accepts(array.shape):
            raise UsageError(
                f"{culprit}: its input {name} has the shape {self.accepted()}, "
                f"not {list(array.shape)}"
            )
        wanted = np.dtype(self.dtype)
        kinds = "iu" if wanted.kind in "iu" else "f"
        converted = array.astype(wanted) if array.dtype.kind in kinds else None
        if converted is None or (kinds == "iu" and not np.array_equal(converted, array)):
            raise UsageError(f"{culprit}: its input {name} is {wanted.name}, not {array.dtype}")
        return converted

    def accepted(self) -> str:
        """The shapes that an input may have, for people."""
        if self.choices:
            return " or ".join(str(list(shape)) for shape in self.choices[:8])
        sizes = self.ranges or tuple((size, size) for size in self.shape)
        return "[" + ", ".join(
            str(low) if low == high else f"{low}..{'' if high is None else high}"
            for low, high in sizes
        ) + "]"  # fmt: skip


@dataclass(frozen=True)
class Features:
    """What a function of the model takes and gives, in the order of the description."""

    function: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[Feature, ...]


def read_features(package: Package, function: str | None = None) -> Features:
    """The description of a function, by default of the one that runs by default.

    Raises ArtifactError when there is no such function or what is declared is not known.
    """
    description = package.model.description
    default = description.defaultFunctionName or "main"
    wanted = function or default
    described = {one.name: one for one in description.functions}
    if described and wanted not in described:
        raise ArtifactError(
            f"{package.path}: has no function {one_line(wanted, 60)}, only "
            + one_line(", ".join(described))
        )
    source = described.get(wanted, description)
    features = [
        tuple(_feature(package, message) for message in messages)
        for messages in (source.input, source.output, source.state)
    ]
    for group in features:
        names = [feature.name for feature in group]
        if len(names) != len(set(names)):
            raise ArtifactError(f"{package.path}: declares the same input or output twice")
    return Features(wanted, *features)


def _feature(package: Package, message: Any) -> Feature:
    kind = message.type.WhichOneof("Type")
    if kind == "imageType":
        feature = _image(message.name, message.type.imageType)
    elif kind == "multiArrayType":
        feature = _array(message.name, message.type)
    elif kind == "stateType":
        feature = _array(message.name, message.type.stateType, "arrayType")
    elif kind in _CLASSES:
        feature = Feature(message.name, "class", (), _CLASSES[kind])
    else:
        feature = None
    name = one_line(message.name, 60)
    if feature is None:
        raise ArtifactError(f"{package.path}: the type of {name} is not known ({kind})")
    try:
        check_shape(feature.shape)
    except ValueError as error:
        raise ArtifactError(f"{package.path}: {name} {error}") from None
    return feature


def _array(name: str, holder: Any, field: str = "multiArrayType") -> Feature | None:
    message = getattr(holder, field)
    if message.dataType not in _ARRAY_DTYPES:
        return None
    choices = tuple(tuple(one.shape) for one in message.enumeratedShapes.shapes)
    ranges = tuple(_range(one) for one in message.shapeRange.sizeRanges)
    default = message.WhichOneof("defaultOptionalValue")
    return Feature(
        name, "tensor", tuple(message.shape), _ARRAY_DTYPES[message.dataType],
        choices=choices, ranges=ranges,
        default=None if default is None else getattr(message, default),
    )  # fmt: skip


def _image(name: str, message: Any) -> Feature | None:
    if message.colorSpace not in _COLOURS:
        return None
    colour, dtype = _COLOURS[message.colorSpace]
    channels = 1 if colour == "GRAY" else 3
    choices = tuple((1, channels, s.height, s.width) for s in message.enumeratedSizes.sizes)
    ranges: tuple[tuple[int, int | None], ...] = ()
    if message.WhichOneof("SizeFlexibility") == "imageSizeRange":
        sizes = message.imageSizeRange
        ranges = ((1, 1), (channels, channels), _range(sizes.heightRange), _range(sizes.widthRange))
    shape = (1, channels, message.height, message.width)
    return Feature(name, "image", shape, dtype, colour, choices, ranges)


def _range(message: Any) -> tuple[int, int | None]:
    return message.lowerBound, None if message.upperBound < 0 else message.upperBound
