"""A function of a program, made ready to run: arguments bound, last readers known.

Variables become slots of a frame. Constants are no slots: each is computed at its first use and
kept for as long as the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from ...errors import ArtifactError, one_line
from .numerics import Declared, Numerics
from .program import Operation, Type
from .values import UnknownOperator

Frame: TypeAlias = list[Any]
Watch: TypeAlias = Callable[[Operation, str, Tensor], None]


@dataclass(frozen=True, slots=True)
class Run:
    """What holds for one run of a plan."""

    numerics: Numerics
    watch: Watch | None


class OperatorFailure(Exception):
    """An operator that cannot compute what the program asks for; names it."""

    def __init__(self, operation: Operation, reason: object) -> None:
        name = one_line(operation.name, 60)
        super().__init__(f"operator {one_line(operation.type, 60)} ({name}): {one_line(reason)}")


class Constant:
    """A value that is the same in every run, computed when it is first asked for."""

    def __init__(self, compute: Callable[[], Any]) -> None:
        self._compute: Callable[[], Any] | None = compute
        self._value: Any = None

    def value(self) -> Any:
        """The value; whatever `compute` raises, if it is the first time."""
        if self._compute is not None:
            self._value = self._compute()
            self._compute = None
        return self._value


Reference: TypeAlias = int | Constant  # a slot of the frame, or a constant


def resolve(reference: Reference, frame: Frame) -> Any:
    """The value that a reference stands for."""
    return frame[reference] if isinstance(reference, int) else reference.value()


class Step(Protocol):
    """One operation, made ready to run."""

    def execute(self, frame: Frame, run: Run) -> None:
        """Reads its arguments from the frame and leaves its results there."""


@dataclass(frozen=True, slots=True)
class Body:
    """A block, made ready to run; behind each step stand the slots that nobody reads after it."""

    inputs: tuple[int, ...]
    steps: tuple[tuple[Step, tuple[int, ...]], ...]
    outputs: tuple[Reference, ...]

    def execute(self, frame: Frame, run: Run) -> list[Any]:
        """Runs the steps in order and gives the block's outputs."""
        for step, frees in self.steps:
            step.execute(frame, run)
            for slot in frees:
                frame[slot] = None
        return [resolve(reference, frame) for reference in self.outputs]


@dataclass(frozen=True)
class Plan:
    """A function that is ready to run on a frame of `size` slots."""

    inputs: Mapping[str, tuple[int, Type]]
    body: Body
    outputs: tuple[str, ...]
    types: Mapping[str, Type]  # of the function's own variables, those of inner blocks left out
    size: int
    unknown: tuple[str, ...]  # operators, or uses of them, that the evaluator does not know


class Results:
    """Where the results of an operation go, and what they are declared as."""

    def __init__(self, operation: Operation, slots: tuple[int, ...]) -> None:
        self._operation = operation
        self._slots = slots
        self._names = tuple(variable.name for variable in operation.outputs)
        self._declared = tuple(Declared(variable.type) for variable in operation.outputs)

    def settled(self, results: Sequence[Any], numerics: Numerics) -> list[Any]:
        """The results, each rounded to its declared type.

        Raises OperatorFailure when they are not what is declared.
        """
        if len(results) != len(self._declared):
            raise OperatorFailure(
                self._operation, f"gives {len(results)} results, not {len(self._declared)}"
            )
        try:
            return [
                declared.settle(result, numerics)
                for declared, result in zip(self._declared, results, strict=True)
            ]
        except (TypeError, ValueError) as error:
            raise OperatorFailure(self._operation, error) from None

    def store(self, results: Sequence[Any], frame: Frame, run: Run) -> None:
        """Puts the results, rounded, into the frame, and shows them to whoever watches."""
        settled = self.settled(results, run.numerics)
        for slot, result in zip(self._slots, settled, strict=True):
            frame[slot] = result
        if run.watch is not None:
            for name, result in zip(self._names, settled, strict=True):
                if isinstance(result, Tensor):
                    run.watch(self._operation, name, result)


class OperatorStep:
    """A call of the function that an operator is."""

    def __init__(
        self,
        operation: Operation,
        function: Callable[..., Any],
        arguments: Mapping[str, Reference | list[Reference]],
        given: Mapping[str, Any],
        results: Results,
    ) -> None:
        self._operation = operation
        self._function = function
        self._results = results
        self._single = len(operation.outputs) == 1
        self._constants: dict[str, Any] | None = None
        self._given = given
        self._fixed: list[tuple[str, Constant]] = []
        self._slots: list[tuple[str, int]] = []
        self._lists: list[tuple[str, list[Reference]]] = []
        for name, argument in arguments.items():
            if isinstance(argument, int):
                self._slots.append((name, argument))
            elif isinstance(argument, Constant):
                self._fixed.append((name, argument))
            else:
                self._lists.append((name, argument))

    def execute(self, frame: Frame, run: Run) -> None:
        if self._constants is None:
            fixed = {name: constant.value() for name, constant in self._fixed}
            self._constants = fixed | dict(self._given)
        arguments = self._constants.copy()
        for name, slot in self._slots:
            arguments[name] = frame[slot]
        for name, references in self._lists:
            arguments[name] = [resolve(reference, frame) for reference in references]
        result = call(self._operation, self._function, arguments)
        if self._single:
            self._results.store((result,), frame, run)
        else:
            self._results.store(() if result is None else result, frame, run)


def call(operation: Operation, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """What an operator gives; its complaints become OperatorFailure, want of memory included."""
    try:
        return function(**arguments)
    except (UnknownOperator, OperatorFailure, ArtifactError):
        raise
    except Exception as error:
        raise OperatorFailure(operation, f"{type(error).__name__}: {error}") from None
