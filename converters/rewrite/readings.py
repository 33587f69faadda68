"""What is read of a result, through reshapes, permutations, slices and expansions.

On each axis of such a view lie digits, indices that count along one axis of the result: a reshape
splits and joins them, a permutation moves them, a slice shortens one, an expansion adds one that
counts nothing. The sum of its digits says where an element of the view lies in the result, so that
what is known of the result's axes, such as a factor for each channel, is known of the view's
elements without a look at them.

    y = linear(x)                          (B, N, 3*h*d)
    y.reshape(B, N, 3, h, d)               axis 2 counts channels in steps of h*d, 3 of d, 4 of 1
    .permute(2, 0, 3, 1, 4)[1:2]           (1, B, h, N, d), which starts at channel h*d
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from .canonical import permute, reshape
from .network import Network, argument, shape_of

aten = torch.ops.aten

VIEWS = (aten.reshape.default, aten.permute.default, aten.slice.Tensor, aten.expand.default)
_NOTHING = -1  # the axis along which the digit of an expansion counts


@dataclass(frozen=True)
class Digit:
    """`size` steps of `stride` along an axis of the source."""

    axis: int
    stride: int
    size: int


@dataclass(frozen=True)
class Reading:
    """The view `value` of the result of `source`.

    `start` is where the view begins on each axis of the source, `axes` the digits on each axis of
    the view, the slowest first; an axis of size 1 has none.
    """

    source: Node
    value: Node
    start: tuple[int, ...]
    axes: tuple[tuple[Digit, ...], ...]

    def index(self, axis: int) -> Tensor:
        """For each element its index on an axis of the source.

        Of the view's rank, with size 1 on the axes that do not count along that one.
        """
        rank = len(self.axes)
        total = torch.full([1] * rank, self.start[axis])
        for place, digits in enumerate(self.axes):
            if any(digit.axis == axis for digit in digits):
                counted = torch.zeros(1, dtype=torch.long)
                for digit in digits:
                    stride = digit.stride if digit.axis == axis else 0
                    steps = torch.arange(digit.size) * stride
                    counted = (counted[:, None] + steps).flatten()
                total = total + counted.reshape([-1] + [1] * (rank - 1 - place))
        return total

    def covered(self, axis: int) -> Tensor:
        """Which indices on an axis of the source are read: (size of the axis), boolean."""
        mask = torch.zeros(shape_of(self.source)[axis], dtype=torch.bool)
        mask[self.index(axis).flatten()] = True
        return mask

    def digits(self, axes: Iterable[int]) -> tuple[Digit, ...]:
        """The digits on some axes of the view, one axis after the other, neighbours joined."""
        return _joined([digit for axis in axes for digit in self.axes[axis]])

    def read_in_full(self, axis: int) -> bool:
        return bool(self.covered(axis).all())

    def by_source(self, values: Tensor, axes: Sequence[int]) -> Tensor | None:
        """What `values`, which broadcast to the view, say of the source's `axes`.

        The result has these axes of the source, with nan at what the view does not read. None
        where the values do not depend on these axes alone.
        """
        sides = [shape_of(self.source)[axis] for axis in axes]
        index = torch.zeros([1] * len(self.axes), dtype=torch.long)
        for axis, side in zip(axes, sides, strict=True):
            index = index * side + self.index(axis)
        index, values = torch.broadcast_tensors(index, values.double())
        result = torch.full([math.prod(sides)], torch.nan, dtype=torch.float64)
        result[index.flatten()] = values.flatten()
        if not torch.equal(result[index], values):
            return None
        return result.reshape(sides)

    def rebuilt(self, network: Network, source: Node, shape: tuple[int, ...], *, at: Node) -> Node:
        """The view of another source, which holds what this one reads and nothing else, in order.

        Expansions are left out; `shape` is what remains then.
        """
        digits = [one for axis in self.axes for one in axis if one.axis != _NOTHING]
        nested = sorted(digits, key=lambda digit: (digit.axis, -digit.stride))
        if digits != nested:
            source = reshape(network, source, tuple(digit.size for digit in nested), at=at)
            source = permute(network, source, [nested.index(one) for one in digits], at=at)
        return reshape(network, source, shape, at=at)

    @property
    def expanded(self) -> tuple[bool, ...]:
        """For each axis of the view whether it only repeats."""
        return tuple(
            bool(digits) and all(one.axis == _NOTHING for one in digits) for digits in self.axes
        )

    def of_source(self, values: Tensor) -> Tensor:
        """The view's numbers where the source's are `values`, which broadcast to the source.

        As small as the result can be: the values' axes of size 1 leave axes of size 1.
        """
        values = values.reshape([1] * (len(self.start) - values.ndim) + list(values.shape))
        places = [
            self.index(axis) if side > 1 else torch.zeros([1] * len(self.axes), dtype=torch.long)
            for axis, side in enumerate(values.shape)
        ]
        return values[tuple(places)]

    def through(self, view: Node) -> Reading | None:
        """The reading by a view of `value`; None where a digit would have to be cut."""
        step = _STEPS[view.target](self, view)  # type: ignore[index]
        return None if step is None else dataclasses.replace(step, value=view)


def reading(value: Node) -> Reading:
    """Back from a value to what computes it, or to the last view that can be followed."""
    path = []
    while value.op == "call_function" and value.target in VIEWS:
        path.append(value)
        value = value.args[0]  # type: ignore[assignment]
    result = _whole(value)
    for view in reversed(path):
        result = result.through(view) or _whole(view)
    return result


def readers(source: Node) -> Iterator[tuple[Node, Node, Reading | None]]:
    """Who reads a result, directly or through views: the reader, and the operand as a reading.

    The operand is given without reading where a view on the way cannot be followed. The graph's
    outputs are a reader.
    """
    waiting: list[tuple[Node, Reading | None]] = [(source, _whole(source))]
    while waiting:
        value, so_far = waiting.pop()
        for user in value.users:
            if user.op == "call_function" and user.target in VIEWS:
                waiting.append((user, so_far.through(user) if so_far else None))
            else:
                yield user, value, so_far


def constant_of(network: Network, operand: Any) -> Tensor | None:
    """A number, a constant, or a view of one; floating ones in double precision."""
    if not isinstance(operand, Node):
        return network.value(operand)
    read = reading(operand)
    value = network.value(read.source)
    return None if value is None else without_repeats(read.of_source(value))


def without_repeats(values: Tensor) -> Tensor:
    """The values with size 1 on each axis along which they are equal."""
    for axis in range(values.ndim):
        first = values.narrow(axis, 0, 1)
        if bool((values == first).all()):
            values = first
    return values


def _whole(source: Node) -> Reading:
    shape = shape_of(source)
    axes = tuple((Digit(i, 1, side),) if side > 1 else () for i, side in enumerate(shape))
    return Reading(source, source, (0,) * len(shape), axes)


def _permuted(before: Reading, view: Node) -> Reading:
    order: Any = view.args[1]
    return dataclasses.replace(before, axes=tuple(before.axes[axis] for axis in order))


def _expanded(before: Reading, view: Node) -> Reading:
    shape = shape_of(view)
    axes = ((),) * (len(shape) - len(before.axes)) + before.axes
    return dataclasses.replace(
        before,
        axes=tuple(
            digits if digits or side == 1 else (Digit(_NOTHING, 0, side),)
            for digits, side in zip(axes, shape, strict=True)
        ),
    )


def _sliced(before: Reading, view: Node) -> Reading | None:
    axis, first, end = (int(one) for one in view.args[1:4])  # type: ignore[arg-type]
    step = int(argument(view, 4, "step", 1))
    digits = _joined(before.axes[axis])
    count = shape_of(view)[axis]
    if not digits:
        return before if count else None
    inner = math.prod(digit.size for digit in digits[1:])
    if count == 0 or first % inner or end % inner or (step > 1 and inner > 1):
        return None
    outer = digits[0]
    start = list(before.start)
    if outer.axis != _NOTHING:
        start[outer.axis] += first // inner * outer.stride
    cut = Digit(outer.axis, outer.stride * step, count // inner)
    axes = list(before.axes)
    axes[axis] = (cut, *digits[1:]) if cut.size > 1 else digits[1:]
    return dataclasses.replace(before, start=tuple(start), axes=tuple(axes))


def _reshaped(before: Reading, view: Node) -> Reading | None:
    rest = list(_joined([digit for digits in before.axes for digit in digits]))
    axes = []
    for side in shape_of(view):
        taken: list[Digit] = []
        while (missing := side // math.prod(digit.size for digit in taken)) > 1:
            digit = rest.pop(0)
            if digit.size > missing:
                if digit.size % missing:
                    return None
                inner = digit.size // missing
                rest.insert(0, dataclasses.replace(digit, size=inner))
                digit = Digit(digit.axis, digit.stride * inner, missing)
            elif missing % digit.size:
                return None
            taken.append(digit)
        axes.append(tuple(taken))
    return dataclasses.replace(before, axes=tuple(axes))


_STEPS = {
    aten.reshape.default: _reshaped,
    aten.permute.default: _permuted,
    aten.slice.Tensor: _sliced,
    aten.expand.default: _expanded,
}


def _joined(digits: Sequence[Digit]) -> tuple[Digit, ...]:
    """Neighbours that count on where the other ends, as one."""
    result: list[Digit] = []
    for digit in digits:
        if result:
            last = result[-1]
            if last.axis == digit.axis and last.stride == digit.stride * digit.size:
                digit = Digit(digit.axis, digit.stride, last.size * digit.size)
                result.pop()
        result.append(digit)
    return tuple(result)
