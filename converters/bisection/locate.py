"""The place at which a file leaves its source: proved by putting the file's value in its place.

Values that are the same on both sides shield all that is before them, so only what lies between
them and a wrong output can be at fault: on the file's side a region of operators, on the source's
a region of values. Within it, a tensor T of the file stands where the source has a value v if the
source, run again with T in the place of v, returns what the file returns. The earliest such T is
where the fault is complete: all after it is sound, and all before the region is. It lies in the
operators between the region's edge and T, and in the modules between the source's edge and v.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnverifiableError
from .align import Aligner, Match, Order, orders, relative_error
from .graphs import (
    FileRegion,
    SourceRegion,
    deepest_block,
    file_region,
    source_region,
)
from .source_trace import SourceTrace
from .taps import FileTrace

_VALUES_A_TENSOR = 16  # of the source, in order, that a tensor of the file is tried for
_RUNS = 300  # of the source, in all
_CLOSE = 0.1  # a distance that rounding explains, whatever the best one is

_WIDE = 4  # modules in a region, beyond which a fault in only a part of it is looked for
_ENOUGH = 3  # operators that agree again after a tensor, and prove that it was not chance
_TRACES = 60  # of the source, in all

Replaced = Mapping[int, NDArray[Any]]


@dataclass(frozen=True)
class Comparison:
    """A source and a file on one input, and what of the one is found in the other.

    `wrong` are the outputs that differ, by name, with the relative error up to which they would
    count as equal. `replay` gives the source's outputs with values replaced, by step, `retrace`
    all of its values.
    """

    source: SourceTrace
    file: FileTrace
    matches: Mapping[str, Sequence[Match]]
    wrong: Mapping[str, float]
    output_values: Mapping[str, int]  # of the source, by output
    aligner: Aligner
    replay: Callable[[Replaced], Mapping[str, NDArray[Any]]]
    retrace: Callable[[Replaced], SourceTrace]

    def replacement(self, counterpart: Counterpart) -> dict[int, NDArray[Any]]:
        """The file's tensor in the place of the source's value, as `replay` takes it."""
        value = self.source.values[counterpart.value]
        assert value.step is not None
        array = self.file.values[counterpart.key]
        return {value.step: counterpart.order.back(array, value.array.shape)}


@dataclass(frozen=True)
class Counterpart:
    """A tensor of the file that stands in the place of a value of the source."""

    key: str
    value: int
    order: Order


@dataclass(frozen=True)
class Location:
    """Where a file diverges.

    `operator` is the first of the file's operators that is wrong, `suspects` those with it in the
    region that no value of the source tells apart, by index. `block` is the innermost module that
    covers the fault, `modules` those in it whose values are not found in the file. Without a
    counterpart the place is the earliest possible one, and nothing proves it.
    """

    block: str
    modules: tuple[str, ...]
    operator: int
    suspects: tuple[int, ...]
    counterpart: Counterpart | None
    is_missing: bool  # the file has no operator for what the block does there


def locate(comparison: Comparison) -> Location:
    """Raises UnverifiableError where a wrong output is an input or constant of the file."""
    return _Search(comparison).run()


class _Search:
    def __init__(self, comparison: Comparison) -> None:
        self._all = comparison
        self._source, self._file = comparison.source, comparison.file
        self._found = {
            match.value for key in comparison.matches for match in self._own_matches(key)
        }
        self._runs = 0

    def run(self) -> Location:
        region = self._file_region(self._file.outputs[name] for name in self._all.wrong)
        beyond = source_region(
            self._source,
            (self._all.output_values[name] for name in self._all.wrong),
            self._found.__contains__,
        )
        if not region.operators:
            raise UnverifiableError(
                f"no operator computes its output {next(iter(self._all.wrong))}"
            )
        tensors = [key for i in region.operators for key in self._file.operators[i].writes]
        counterpart = self._earliest(tensors, beyond.values, beyond.boundary)
        if counterpart is not None:
            location = self._prove(counterpart)
            if len(location.modules) <= _WIDE:
                return location
        part = self._first_that_recovers(region, beyond)
        if part is not None:
            return self._prove(part)
        return self._guess(region, beyond) if counterpart is None else location

    def _own_matches(self, key: str) -> list[Match]:
        """The values that a tensor is as it stands, not inner ones and not rearranged."""
        matches = self._all.matches.get(key, ())
        return [match for match in matches if not match.inner and not match.rearranged]

    def _file_region(self, results: Any) -> FileRegion:
        return file_region(self._file, results, lambda key: bool(self._all.matches.get(key)))

    def _earliest(
        self, tensors: Sequence[str], values: Sequence[int], boundary: Sequence[int]
    ) -> Counterpart | None:
        """The first tensor that stands for a value, be it one that is right on the boundary.

        There the file computes something more than the source does. A norm of what is normalised
        looks much like that too, so that the proof has to be as good as the best.
        """
        found = self._first(tensors, values)
        if found is None:
            return self._first(tensors, boundary)
        bound = max(3 * self._distance(found), _CLOSE)
        return self._first(tensors[: tensors.index(found.key)], boundary, bound) or found

    def _first(
        self, tensors: Sequence[str], values: Sequence[int], bound: float = 1.0
    ) -> Counterpart | None:
        for key in tensors:
            for value in self._alike(key, values)[:_VALUES_A_TENSOR]:
                for order in self._fitting_orders(key, value):
                    candidate = Counterpart(key, value, order)
                    if self._runs < _RUNS and self._distance(candidate) <= bound:
                        return candidate
        return None

    def _first_that_recovers(self, region: FileRegion, beyond: SourceRegion) -> Counterpart | None:
        """The first tensor after which file and source agree again for some operators.

        That is as far as a proof goes where there are several faults.
        """
        runs = 0
        for number, i in enumerate(region.operators):
            later = region.operators[number + 1 :]
            for key in self._file.operators[i].writes:
                for value in self._alike(key, beyond.values)[:_VALUES_A_TENSOR]:
                    for order in self._fitting_orders(key, value):
                        runs += 1
                        candidate = Counterpart(key, value, order)
                        if runs <= _TRACES and self._recovered(candidate, later) >= _ENOUGH:
                            return candidate
        return None

    def _recovered(self, candidate: Counterpart, later: Sequence[int]) -> int:
        """How many of the operators agree with a source that has the file's tensor."""
        before = self._source.values
        after = self._all.retrace(self._all.replacement(candidate)).values
        if len(after) != len(before):
            return 0
        values = (
            replace(now, rounding=then.rounding, inner=(), inner_rounding=())
            for then, now in zip(before, after, strict=True)
            if then.index > candidate.value
        )
        aligner = Aligner(values, self._all.aligner.noise, self._all.aligner.layouts)
        return sum(
            not self._only_moves(i)
            and any(
                not match.rearranged
                for key in self._file.operators[i].writes
                if key in self._file.values
                for match in aligner.matches(self._file.values[key])
            )
            for i in later
        )

    def _alike(self, key: str, values: Sequence[int]) -> list[int]:
        array = self._file.values.get(key)
        if array is None or array.dtype.kind != "f" or not np.isfinite(array).all():
            return []
        same = {match.value for match in self._own_matches(key)}
        return [
            i for i in values
            if self._source.values[i].array.size == array.size
            and self._source.values[i].array.dtype.kind == "f"
            and self._source.values[i].step is not None
            and i not in same
        ]  # fmt: skip

    def _fitting_orders(self, key: str, value: int) -> Iterator[Order]:
        """The usual orders of axes that give the tensor's shape, or the source's own order."""
        shape = self._source.values[value].array.shape
        sides = tuple(side for side in shape if side > 1)
        known = self._all.aligner.layouts.get(shape, ())
        usual = [order for order in orders(shape) if order.usual]
        wanted = self._file.values[key].squeeze().shape
        fitting = [one for one in usual if tuple(sides[axis] for axis in one.axes) == wanted]
        yield from (*known, *fitting) or usual[:1]

    def _distance(self, candidate: Counterpart) -> float:
        """How far the source, given the file's tensor, is from what the file returns.

        The unit is the error up to which the two count as equal.
        """
        self._runs += 1
        outputs = self._all.replay(self._all.replacement(candidate))
        return max(
            relative_error(outputs[name], self._file.values[self._file.outputs[name]]) / bound
            for name, bound in self._all.wrong.items()
        )

    def _prove(self, counterpart: Counterpart) -> Location:
        region = self._file_region([counterpart.key])
        beyond = source_region(self._source, [counterpart.value], self._found.__contains__)
        # A tensor at the edge may be sound in itself and yet stand for a value further on.
        early = self._first(region.boundary, beyond.values)
        if early is not None:
            counterpart = early
            beyond = source_region(self._source, [early.value], self._found.__contains__)
            before = file_region(self._file, [early.key], lambda key: bool(self._own_matches(key)))
            if not before.operators or not self._is_unfinished(early):
                return self._missing(early, region, beyond)
            region = before
        first, *others = self._suspects(region)
        return Location(
            block=self._block(counterpart.value, region.boundary),
            modules=self._modules(beyond, counterpart.value),
            operator=first,
            suspects=tuple(others),
            counterpart=counterpart,
            is_missing=False,
        )

    def _is_unfinished(self, counterpart: Counterpart) -> bool:
        """Whether a tensor is only a step on the way to the value, or its numbers out of order."""
        own = self._own_matches(counterpart.key)
        wanted = np.sort(self._source.values[counterpart.value].array, axis=None)
        return not any(
            not np.array_equal(np.sort(self._source.values[match.value].array, axis=None), wanted)
            for match in own
        )

    def _missing(
        self, counterpart: Counterpart, region: FileRegion, beyond: SourceRegion
    ) -> Location:
        """The file goes on with a sound tensor where the source computes something more."""
        readers = (i for i in region.operators if counterpart.key in self._file.operators[i].reads)
        return Location(
            block=self._block(counterpart.value, [counterpart.key]),
            modules=self._modules(beyond, counterpart.value),
            operator=next(readers),
            suspects=(),
            counterpart=counterpart,
            is_missing=True,
        )

    def _guess(self, region: FileRegion, beyond: SourceRegion) -> Location:
        """Without proof: the first operators of the region, the first block beyond the edge."""
        suspects = self._suspects(region)
        sound = set(region.boundary)
        reading = [i for i in suspects if sound.issuperset(self._file.operators[i].reads)]
        first, *others = reading or suspects[:1]
        value = beyond.values[0]
        return Location(
            block=self._block(value, self._file.operators[first].reads),
            modules=self._modules(beyond, value),
            operator=first,
            suspects=tuple(others),
            counterpart=None,
            is_missing=False,
        )

    def _block(self, value: int, operands: Sequence[str]) -> str:
        """The innermost module that makes the value from the operands."""
        used = [[(m.value, m.inner) for m in self._all.matches.get(key, ())] for key in operands]
        return deepest_block(self._source, value, [one for one in used if one])

    def _modules(self, region: SourceRegion, value: int) -> tuple[str, ...]:
        paths = dict.fromkeys(self._source.values[i].module for i in region.values if i <= value)
        return tuple(paths)

    def _suspects(self, region: FileRegion) -> list[int]:
        """The operators of a region, the first that may be wrong before the others.

        An operator that only moves what it was given is taken to move it rightly, unless the
        source has the same numbers in another order, or nothing else is left that could be wrong.
        Where the region's edge is a value of the source in an unusual order, what made that comes
        last.
        """
        sound: set[str] = set(region.boundary)
        suspects, moved = [], []
        for i in region.operators:
            operator = self._file.operators[i]
            is_first = all(key in sound for key in operator.reads)
            if is_first and self._only_moves(i) and not self._is_out_of_order(i):
                sound.update(operator.writes)
                moved.append(i)
            else:
                suspects.append((not is_first, i))
        turned = [
            i
            for i, operator in enumerate(self._file.operators)
            for key in operator.writes
            if key in region.boundary and all(m.rearranged for m in self._all.matches[key])
        ]
        return [i for _, i in sorted(suspects)] + turned or moved

    def _is_out_of_order(self, index: int) -> bool:
        writes = self._file.operators[index].writes
        return any(
            self._all.aligner.resembles(self._file.values[key])
            for key in writes
            if key in self._file.values
        )

    def _only_moves(self, index: int) -> bool:
        """Whether all that an operator gives are numbers that it was given, and zeros."""
        operator = self._file.operators[index]
        values = self._file.values
        if not all(key in values for key in (*operator.reads, *operator.writes)):
            return False
        given = [values[key].ravel() for key in operator.reads]
        made = [values[key].ravel() for key in operator.writes]
        if not given or not made:
            return False
        return bool(np.isin(np.concatenate(made), np.append(np.concatenate(given), 0.0)).all())
