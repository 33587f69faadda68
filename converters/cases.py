"""The inputs of a parity check, in the file's own types and layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .artifact import Arrays, CaseKind
from .deploy import Input, Interface

RANDOM_CASES = 2


def parity_cases(
    interface: Interface,
    photos: Mapping[str, NDArray[np.uint8]],
    *,
    seed: int,
    integer_limit: int,
) -> dict[tuple[CaseKind, str], Arrays]:
    """Photos through the preprocessing, then seeded random inputs, by (kind, name).

    `photos` are uint8 (H, W, C), already of the network's size; they are left out where the
    network takes no photo. A batch holds several of them, starting at each in turn. Random input
    is photographic noise where there is a preprocessing, else a standard normal; random whole
    numbers are below `integer_limit`.
    """
    cases: dict[tuple[CaseKind, str], Arrays] = {}
    rng = np.random.default_rng(seed)

    def random_case() -> dict[str, NDArray[Any]]:
        return {one.spec.name: _random(one, rng, integer_limit) for one in interface.inputs}

    image = next((one for one in interface.inputs if one.spec.preprocessing is not None), None)
    if image is not None:
        names = list(photos)
        for i, name in enumerate(names):
            batch = [photos[names[(i + j) % len(names)]] for j in range(image.source_shape[0])]
            photo = _photo_input(image, np.stack(batch))
            cases["photo", name] = random_case() | {image.spec.name: photo}
    for i in range(RANDOM_CASES):
        cases["random", str(i)] = random_case()
    return cases


def example_case(interface: Interface, examples: Sequence[NDArray[Any]]) -> Arrays | None:
    """The caller's example as the file's input; None where it cannot be one, or says nothing."""
    case = {}
    for one, array in zip(interface.inputs, examples, strict=True):
        if one.embedded is not None or not array.any():
            return None
        if one.is_nhwc:
            array = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
        case[one.spec.name] = array.astype(one.spec.dtype)
    return case


def _photo_input(image: Input, photos: NDArray[np.uint8]) -> NDArray[Any]:
    """(B, H, W, C) photos as the file wants them."""
    if image.embedded is not None:
        return photos if image.is_nhwc else np.ascontiguousarray(photos.transpose(0, 3, 1, 2))
    assert image.spec.preprocessing is not None
    x = image.spec.preprocessing.normalise(photos)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if image.is_nhwc else x


def _random(one: Input, rng: np.random.Generator, integer_limit: int) -> NDArray[Any]:
    if one.spec.preprocessing is not None:
        b, c, h, w = one.source_shape
        return _photo_input(one, rng.integers(0, 256, (b, h, w, c), np.uint8))
    shape, dtype = one.spec.shape, np.dtype(one.spec.dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.integers(0, min(integer_limit, np.iinfo(dtype).max), shape).astype(dtype)
