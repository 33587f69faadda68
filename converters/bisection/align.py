"""Which tensor of a file is which value of its source: by value, for names do not survive.

Converters fold, fuse, reorder and rename, but what they leave standing has the same numbers, in
another order of axes at most. Two tensors are the same if they have as many elements and differ by
no more than rounding, relative to the larger magnitude, under one of these orders of axes: the
source's own, channels moved from second to last place or back, the last two swapped. Any other
order counts as `rearranged`: it may be a converter's choice, or the fault that is looked for.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .source_trace import SourceValue

_MOST_AXES = 5  # of a tensor whose every order of axes is tried: 120 of them
_SAMPLE = 64  # elements that are compared first


@dataclass(frozen=True)
class Order:
    """How the axes of a source's value stand in a tensor of the file.

    `sides` are those that the value is split into first; None for its own, those of one left out.
    """

    axes: tuple[int, ...]
    usual: bool
    sides: tuple[int, ...] | None = None

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """The source's value as the file has it, up to the shape."""
        apart = array.squeeze() if self.sides is None else array.reshape(self.sides)
        return apart.transpose(self.axes)

    def back(self, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """The file's tensor as the source, whose value has this shape, would have it."""
        sides = tuple(side for side in shape if side > 1) if self.sides is None else self.sides
        turned = array.reshape([sides[axis] for axis in self.axes])
        return turned.transpose(np.argsort(self.axes)).reshape(shape)


Layouts = Mapping[tuple[int, ...], Sequence[Order]]  # further usual orders, by a value's shape


@dataclass(frozen=True)
class Match:
    """A tensor of the file that is a value of the source.

    `error` is the largest difference, relative to the source's largest magnitude.
    """

    value: int  # index in the source's trace
    inner: bool  # something that a fused operator computes on the way
    error: float
    order: Order

    @property
    def rearranged(self) -> bool:
        return not self.order.usual


class Aligner:
    """The values of a source, ready to be looked for.

    `noise` is the ratio of the error that a sound file may have to the rounding at each value,
    `layouts` are orders in which the file is known to have values besides the usual ones.
    """

    def __init__(
        self, values: Iterable[SourceValue], noise: float, layouts: Layouts | None = None
    ) -> None:
        self.noise = noise
        self.layouts = layouts or {}
        self._by_size: dict[int, list[_Entry]] = defaultdict(list)
        for value in values:
            parts = [(value.array, value.rounding, False)]
            parts += [(a, r, True) for a, r in zip(value.inner, value.inner_rounding, strict=True)]
            for array, rounding, inner in parts:
                if array.size and array.dtype.kind in "fiub":
                    entry = _Entry(value.index, inner, array, noise * rounding)
                    self._by_size[array.size].append(entry)
        self._signatures = {
            size: np.array([_signature(entry.array.astype(np.float64)) for entry in entries])
            for size, entries in self._by_size.items()
        }
        self._bounds = {
            size: np.array([entry.tolerance * np.abs(entry.array).max() for entry in entries])
            for size, entries in self._by_size.items()
        }

    def resembles(self, array: NDArray[Any]) -> bool:
        """Whether `array` may hold the numbers of a value, in whatever order."""
        return bool(self._alike(array.astype(np.float64)))

    def matches(self, array: NDArray[Any]) -> list[Match]:
        """All values that `array` may be, the source's own before the inner ones."""
        array = array.astype(np.float64)
        found = []
        for entry in self._alike(array):
            candidates = self.orders(entry.array.shape)
            order = same(entry.array.astype(np.float64), array, entry.tolerance, candidates)
            if order is not None:
                error = relative_error(order.of(entry.array), array)
                found.append(Match(entry.value, entry.inner, error, order))
        return sorted(found, key=lambda one: (one.rearranged, one.inner, one.error))

    def orders(self, shape: tuple[int, ...]) -> tuple[Order, ...]:
        """The orders to try for a value of this shape, the usual ones first."""
        return (*self.layouts.get(shape, ()), *orders(shape))

    def _alike(self, array: NDArray[np.float64]) -> list[_Entry]:
        """The values with the same signature."""
        entries = self._by_size.get(array.size)
        if entries is None or not np.isfinite(array).all():
            return []
        with np.errstate(invalid="ignore"):
            distance = np.abs(self._signatures[array.size] - _signature(array)).max(axis=1)
        return [entries[i] for i in (distance <= self._bounds[array.size]).nonzero()[0]]


@dataclass(frozen=True)
class _Entry:
    value: int
    inner: bool
    array: NDArray[Any]
    tolerance: float


def _signature(array: NDArray[np.float64]) -> tuple[float, ...]:
    """What no order changes; each figure moves by no more than the largest difference does."""
    return (
        float(array.max()),
        float(array.min()),
        float(np.abs(array).mean()),
        float(np.sqrt(np.square(array).mean())),
    )


def same(
    reference: NDArray[Any],
    array: NDArray[Any],
    tolerance: float,
    candidates: Sequence[Order] | None = None,
) -> Order | None:
    """The order of axes in which two arrays of one size agree; None where they do in none."""
    for order in orders(reference.shape) if candidates is None else candidates:
        view = order.of(reference)
        step = max(1, view.size // _SAMPLE)
        scale = float(np.abs(view).max())
        bound = tolerance * scale if scale else tolerance
        if np.abs(view.flat[::step] - array.flat[::step]).max() > bound:
            continue
        if np.abs(view.ravel() - array.ravel()).max() <= bound:
            return order
    return None


def relative_error(reference: NDArray[Any], array: NDArray[Any]) -> float:
    """The largest difference, relative to the reference's largest magnitude.

    Infinite where a value is not finite, or there are not as many.
    """
    if reference.size != array.size:
        return np.inf
    a, b = reference.astype(np.float64).ravel(), array.astype(np.float64).ravel()
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.inf
    scale = float(np.abs(a).max(initial=0.0))
    error = float(np.abs(a - b).max(initial=0.0))
    return error / scale if scale else error


@functools.lru_cache(maxsize=1024)
def orders(shape: tuple[int, ...]) -> tuple[Order, ...]:
    """The orders of axes to try for a value of this shape, the usual ones first."""
    long = [axis for axis, side in enumerate(shape) if side > 1]
    place = {axis: i for i, axis in enumerate(long)}
    everything = range(len(shape))
    full = [list(everything)]
    if len(shape) >= 3:
        full += [[0, *everything[2:], 1], [0, len(shape) - 1, *everything[1:-1]]]
    if len(shape) >= 2:
        full.append([*everything[:-2], len(shape) - 1, len(shape) - 2])
    usual = [tuple(place[axis] for axis in order if axis in place) for order in full]
    others = itertools.permutations(range(len(long))) if len(long) <= _MOST_AXES else ()
    return (
        *(Order(axes, True) for axes in dict.fromkeys(usual)),
        *(Order(axes, False) for axes in others if axes not in usual),
    )
