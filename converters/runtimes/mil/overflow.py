"""Where the values of a run leave the range of fp16."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .program import Argument, Block, Operation, Value

# A finite number from here on becomes infinite when it is rounded to fp16.
FP16_OVERFLOW = 65520.0


@dataclass(frozen=True)
class Overflow:
    """The first value of a run that fp16 cannot hold."""

    operator: str  # the operator's type
    name: str  # of the value
    largest: float  # its largest magnitude; infinite or NaN where float32 did not hold it either


class OverflowFound(Exception):
    """Ends the run at the first overflow."""

    def __init__(self, overflow: Overflow) -> None:
        super().__init__(overflow.name)
        self.overflow = overflow


class OverflowWatch:
    """Watches a run; raises OverflowFound.

    What is infinite already among the arguments of an operator, as in an attention mask, may
    stay so in its result; that is no overflow. Results of control flow were judged inside it.
    """

    def __init__(self, block: Block, infinite_inputs: Iterable[str]) -> None:
        self._infinite = set(infinite_inputs)
        self._constants: Mapping[str, Value] = {
            operation.outputs[0].name: operation.attributes["val"]
            for operation in block.walk()
            if operation.type == "const"
        }

    def __call__(self, operation: Operation, name: str, value: Tensor) -> None:
        if not value.is_floating_point() or not value.numel():
            return
        largest = value.abs().max().item()
        if largest < FP16_OVERFLOW:
            return
        finite = value[torch.isfinite(value)].abs()
        if finite.numel() and finite.max().item() >= FP16_OVERFLOW:
            largest = finite.max().item()
        elif operation.blocks or any(map(self._is_infinite, _arguments(operation))):
            self._infinite.add(name)
            return
        raise OverflowFound(Overflow(operation.type, name, largest))

    def _is_infinite(self, argument: Argument) -> bool:
        if isinstance(argument, str):
            if argument in self._infinite:
                return True
            if argument not in self._constants:
                return False
            argument = self._constants[argument]
        content = argument.read()
        if not isinstance(content, np.ndarray) or content.dtype.kind != "f":
            return False
        return not np.isfinite(content).all()


def _arguments(operation: Operation) -> Iterable[Argument]:
    return (argument for arguments in operation.inputs.values() for argument in arguments)
