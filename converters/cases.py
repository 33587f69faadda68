"""The inputs of a parity check, in the file's own types and layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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

    `photos` are uint8 (H, W, C), each already of a size that the network takes; they are left out
    where it takes no photo. A batch holds several of one size, starting at each in turn. Random
    input is photographic noise where there is a preprocessing, else a standard normal; random
    whole numbers are below `integer_limit`. A file that takes several sizes or batches has a
    random input of each besides those of its own.
    """
    cases: dict[tuple[CaseKind, str], Arrays] = {}
    rng = np.random.default_rng(seed)

    def random_case(**shape: Any) -> dict[str, NDArray[Any]]:
        inputs = [_reshaped(one, **shape) for one in interface.inputs]
        return {one.spec.name: _random(one, rng, integer_limit) for one in inputs}

    image = next((one for one in interface.inputs if one.spec.preprocessing is not None), None)
    if image is not None:
        for name, photo in photos.items():
            alike = [n for n in photos if photos[n].shape == photo.shape]
            first = alike.index(name)
            batch = [photos[alike[(first + j) % len(alike)]] for j in range(image.source_shape[0])]
            arrays = random_case(size=photo.shape[:2])
            cases["photo", name] = arrays | {image.spec.name: _photo_input(image, np.stack(batch))}
    for i in range(RANDOM_CASES):
        cases["random", str(i)] = random_case()
    for size in (size for one in interface.inputs for size in one.spec.sizes):
        height, width = map(int, size.split("x"))
        cases["random", size] = random_case(size=(height, width))
    limit = interface.inputs[0].spec.dynamic_batch
    if limit is not None:
        cases["random", f"batch {limit}"] = random_case(batch=limit)
    return cases


def _reshaped(one: Input, size: tuple[int, int] | None = None, batch: int | None = None) -> Input:
    """The input at another size, if it is the image that has one, or of another batch."""
    shape = one.source_shape
    if batch is not None:
        shape = (batch, *shape[1:])
    if size is not None and one.spec.layout is not None:
        shape = (*shape[:2], *size)
    if shape == one.source_shape:
        return one
    b, *rest = shape
    file_shape = (b, *rest[1:], rest[0]) if one.is_nhwc else shape
    return replace(one, source_shape=shape, spec=replace(one.spec, shape=file_shape))


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
