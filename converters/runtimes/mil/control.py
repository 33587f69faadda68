"""Control flow: `cond` and `while_loop`, whose blocks run on the frame of their function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .plan import Body, Frame, OperatorFailure, Reference, Results, Run, resolve
from .program import Operation


@dataclass(frozen=True, slots=True)
class CondStep:
    """Runs one of two blocks, by the scalar `pred`; its results are those of the block."""

    operation: Operation
    pred: Reference
    true: Body
    false: Body
    results: Results

    def execute(self, frame: Frame, run: Run) -> None:
        holds = _truth(self.operation, resolve(self.pred, frame))
        values = (self.true if holds else self.false).execute(frame, run)
        self.results.store(values, frame, run)


@dataclass(frozen=True, slots=True)
class WhileStep:
    """Runs `body` on the loop's variables, which it replaces, for as long as `condition` holds."""

    operation: Operation
    loop_vars: tuple[Reference, ...]
    condition: Body
    body: Body
    results: Results

    def execute(self, frame: Frame, run: Run) -> None:
        values = [resolve(reference, frame) for reference in self.loop_vars]
        while self._holds(values, frame, run):
            _enter(self.body, values, frame)
            values = self.body.execute(frame, run)
        self.results.store(values, frame, run)

    def _holds(self, values: list[Any], frame: Frame, run: Run) -> bool:
        _enter(self.condition, values, frame)
        (holds,) = self.condition.execute(frame, run)
        return _truth(self.operation, holds)


def _enter(block: Body, values: list[Any], frame: Frame) -> None:
    for slot, value in zip(block.inputs, values, strict=True):
        frame[slot] = value


def _truth(operation: Operation, value: Any) -> bool:
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise OperatorFailure(operation, "its condition is no scalar")
    return bool(value)
