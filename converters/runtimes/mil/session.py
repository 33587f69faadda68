"""CoreML packages on the evaluator, as the child process runs saved files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...artifact import Arrays
from ...manifest import GraphSummary
from ..base import Port, SessionRequest
from .evaluator import Evaluator
from .features import Feature


class EvaluatorSession:
    """A package in the mode "storage"; each run begins with fresh states."""

    runtime = "MIL evaluator (storage mode, an estimate of a device's numerics)"

    def __init__(self, request: SessionRequest) -> None:
        torch.set_num_threads(request.threads)
        self._evaluator = Evaluator(request.file)
        self.inputs: Sequence[Port] = tuple(map(_port, self._evaluator.inputs))
        self.outputs: Sequence[Port] = tuple(map(_port, self._evaluator.outputs))

    def run(self, inputs: Arrays) -> Arrays:
        results: dict[str, Any] = self._evaluator.run(inputs)
        return results

    def summary(self) -> GraphSummary:
        """Operators of the function that runs, those inside its control flow included."""
        operators = self._evaluator.operators
        return GraphSummary({name: n for name, n in operators.most_common() if name != "const"})


def _port(feature: Feature) -> Port:
    return Port(feature.name, feature.shape, feature.dtype)
