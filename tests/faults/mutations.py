"""The vocabulary of single faults, the faults of arrays that all formats share, and the choice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Kind(StrEnum):
    """What is wrong; one name for the same fault in every format."""

    WEIGHT_VALUE = "one weight off by a hundredth"
    WEIGHT_SIGN = "one weight's sign"
    CHANNELS_SWAPPED = "two output channels swapped"
    CHANNEL_ZEROED = "an output channel zeroed"
    KERNEL_AXES = "a kernel's height and width swapped"
    BIAS_VALUE = "one bias off by a hundredth"
    BIAS_DROPPED = "a bias dropped"
    CONSTANT = "a constant off by a hundredth"
    TABLE_VALUE = "one value of a norm's vector or a table off by a hundredth"
    EPSILON_LARGER = "an epsilon ten times as large"
    EPSILON_SMALLER = "an epsilon a tenth as large"
    ACTIVATION = "another activation"
    GELU_MODE = "GELU's approximation"
    SOFTMAX = "a softmax over another axis or at another scale"
    REDUCTION = "a mean or sum over other axes, or one for the other"
    TRANSPOSE = "a transpose with two axes swapped"
    CONCAT_ORDER = "a concatenation's operands in another order"
    CONCAT_AXIS = "a concatenation along another axis"
    SLICE = "a slice or split one off"
    PADDING = "another padding"
    STRIDE = "another stride"
    DILATION = "another dilation"
    MATMUL = "a matrix product with an operand transposed"
    OPERAND_ORDER = "the operands of a difference or quotient swapped"
    OPERAND_REPEATED = "one operand in the place of the other"
    OPERATOR = "another operator of the same signature"


@dataclass(frozen=True)
class Fault:
    """One fault in a saved file: `write` makes the faulty file, or folder, at a path."""

    kind: Kind
    place: str  # the operator or tensor, by the file's own names
    write: Callable[[Path], object]


def choose(faults: Sequence[Fault], count: int, seed: int) -> list[Fault]:
    """`count` of the faults, each kind in turn for as long as it lasts."""
    rng = random.Random(seed)
    by_kind: dict[Kind, list[Fault]] = {}
    for fault in faults:
        by_kind.setdefault(fault.kind, []).append(fault)
    for group in by_kind.values():
        rng.shuffle(group)
    chosen: list[Fault] = []
    while len(chosen) < min(count, len(faults)):
        for group in by_kind.values():
            if group and len(chosen) < count:
                chosen.append(group.pop())
    return chosen


def weight_faults(weights: Array, channels: int, seed: str) -> Iterator[tuple[Kind, Array]]:
    """Faulty copies of a layer's weights, whose output channels are the axis `channels`."""
    rng = random.Random(seed)
    where = rng.randrange(weights.size)
    yield Kind.WEIGHT_VALUE, _scaled(weights, where, 1.01)
    yield Kind.WEIGHT_SIGN, _scaled(weights, where, -1)
    count = weights.shape[channels]
    if count > 1:
        a, b = rng.sample(range(count), 2)
        order = np.arange(count)
        order[[a, b]] = b, a
        yield Kind.CHANNELS_SWAPPED, weights.take(order, channels)
    zeroed = weights.copy()
    zeroed[(slice(None),) * channels + (rng.randrange(count),)] = 0
    yield Kind.CHANNEL_ZEROED, zeroed


def bias_faults(bias: Array, seed: str) -> Iterator[tuple[Kind, Array]]:
    """Faulty copies of a layer's bias, unless that is nothing already."""
    if bias.any():
        yield Kind.BIAS_VALUE, off(bias, seed)
        yield Kind.BIAS_DROPPED, np.zeros_like(bias)


def epsilon_faults(epsilon: Array) -> Iterator[tuple[Kind, Array]]:
    yield Kind.EPSILON_LARGER, (epsilon * 10).astype(epsilon.dtype)
    yield Kind.EPSILON_SMALLER, (epsilon / 10).astype(epsilon.dtype)


def off(array: Array, seed: str) -> Array:
    """A copy with one value, not a zero, off by a hundredth."""
    return _scaled(array, random.Random(seed).choice(np.flatnonzero(array).tolist()), 1.01)


def _scaled(array: Array, where: int, factor: float) -> Array:
    faulty = array.copy()
    faulty.reshape(-1)[where] *= factor
    return faulty


def swapped_axes(order: Sequence[int], shape: Sequence[int]) -> tuple[int, ...] | None:
    """A transpose's order with two of its axes swapped, the result's shape kept where it can be.

    `shape` is the operand's. None where no axis is longer than 1 but one.
    """
    long = [i for i, axis in enumerate(order) if shape[axis] > 1]
    pairs = [(a, b) for a in long for b in long if a < b]
    if not pairs:
        return None
    a, b = min(pairs, key=lambda pair: shape[order[pair[0]]] != shape[order[pair[1]]])
    found = list(order)
    found[a], found[b] = found[b], found[a]
    return tuple(found)


def other_axes(axes: Sequence[int], shape: Sequence[int]) -> tuple[int, ...] | None:
    """Axes to reduce with one replaced by another, the result's shape kept where it can be."""
    axes = [axis % len(shape) for axis in axes]
    pairs = [
        (i, other)
        for i, axis in enumerate(axes)
        for other in range(len(shape))
        if other not in axes and (shape[axis] > 1 or shape[other] > 1)
    ]
    if not pairs:
        return None
    i, other = min(pairs, key=lambda pair: shape[axes[pair[0]]] != shape[pair[1]])
    found = list(axes)
    found[i] = other
    return tuple(sorted(found))
