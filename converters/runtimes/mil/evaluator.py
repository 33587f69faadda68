"""Executes a CoreML package on any machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import ArtifactError, RuntimeFailure, UnverifiableError, UsageError, one_line

# What defines operators outside `ops`: importing it fills the table.
from . import classifier, constexpr, lists, recurrent, state  # noqa: F401
from .constants import Array
from .features import read_features
from .numerics import NUMERICS, Declared, Mode, Numerics
from .overflow import Overflow, OverflowFound, OverflowWatch
from .package import open_package
from .plan import OperatorFailure, Run, Watch
from .planner import make_plan
from .program import StateType, Type, ValueType, read_program
from .values import StateCell, UnknownOperator


class Evaluator:
    """A CoreML package (`.mlpackage`, an mlProgram) that runs without CoreML, on torch.

        from converters.runtimes.mil import Evaluator

        evaluator = Evaluator("mobilevit_xs-fp16.mlpackage")
        for feature in evaluator.inputs:
            print(feature.name, feature.kind, feature.shape, feature.dtype, feature.colour)
        outputs = evaluator.run({"image": photo})  # {"logits": an array}
        print(evaluator.first_overflow({"image": photo}))

    Mode "storage" computes in float32 and rounds every value to its declared type; mode "exact"
    computes in float64 and rounds no value, which leaves the rounding of the weights. Both are
    estimates of a device's numerics, which may accumulate otherwise, fuse operators and leave out
    roundings; they are bounds of nothing.

    Inputs are NumPy arrays by name. An image is uint8 (1,C,H,W) with its channels in the order of
    `colour`; what the model does to it is in its graph. Outputs come in the order of the model's
    description with their declared types (in mode "exact", float64 for any float): an image
    with the numbers of the graph, not rounded to bytes; of a classifier the label as an array of
    rank 0, of a string or an integer, and its probabilities in the order of the labels.

    Raises ArtifactError for a package that is damaged or no mlProgram, and MissingExtraError
    without coremltools, whose protobuf classes are used.
    """

    def __init__(
        self, path: str | Path, mode: Mode = "storage", function: str | None = None
    ) -> None:
        self.path = Path(path)
        self.mode = mode
        package = open_package(self.path)
        program = read_program(package)
        features = read_features(package, function)
        self.inputs, self.outputs = features.inputs, features.outputs
        self._states = features.states
        if features.function not in program.functions:
            name = one_line(features.function, 60)
            raise ArtifactError(f"{self.path}: its program has no function {name}")
        self.operators = program.operators(features.function)
        self._function = program.functions[features.function]
        self._numerics = NUMERICS[mode]
        self._plan = make_plan(self.path, self._function, self._numerics)
        self._check_ports()

    @property
    def unknown_operators(self) -> tuple[str, ...]:
        """What stands in the program and is not known here: operators, or uses of them."""
        return self._plan.unknown

    def run(
        self,
        inputs: Mapping[str, Array],
        watch: Watch | None = None,
        states: dict[str, Array] | None = None,
    ) -> dict[str, Array]:
        """The outputs for these inputs.

        `watch` is called with the operation, the name and the tensor of each value that is
        computed, in order, constants left out. `states` holds the model's states by name from
        one run to the next and is updated; those that are not in it begin as zeros.

        Raises UsageError for inputs that do not fit, UnverifiableError when the program holds an
        operator that is not known, RuntimeFailure naming an operator that cannot be computed, and
        ArtifactError for damaged weights.
        """
        return self._run(inputs, self._numerics, watch, {} if states is None else states)

    def first_overflow(self, inputs: Mapping[str, Array]) -> Overflow | None:
        """The first operator whose result leaves fp16's range, on these inputs.

        Values are judged before they are rounded. Raises what `run` does.
        """
        unrounded = Numerics(self._numerics.compute, rounds=False)
        infinite = [name for name, array in inputs.items() if not _finite(array)]
        try:
            self._run(inputs, unrounded, OverflowWatch(self._function.block, infinite), {})
        except OverflowFound as found:
            return found.overflow
        return None

    def _run(
        self,
        inputs: Mapping[str, Array],
        numerics: Numerics,
        watch: Watch | None,
        states: dict[str, Array],
    ) -> dict[str, Array]:
        if self._plan.unknown:
            raise self._unknown(", ".join(self._plan.unknown))
        given = self._checked(inputs)
        frame: list[Any] = [None] * self._plan.size
        cells: dict[str, StateCell] = {}
        with self._complaints(), torch.inference_mode():
            for name, array in given.items():
                slot, _ = self._plan.inputs[name]
                frame[slot] = self._entering(name, array, numerics)
            for feature in self._states:
                slot, _ = self._plan.inputs[feature.name]
                begin = states.get(feature.name, np.zeros(feature.shape, feature.dtype))
                cell = StateCell(self._entering(feature.name, begin, numerics))
                frame[slot] = cells[feature.name] = cell
            values = self._plan.body.execute(frame, Run(numerics, watch))
            outputs = dict(zip(self._plan.outputs, values, strict=True))
            for name, cell in cells.items():
                states[name] = self._leaving(name, cell.value, numerics)
            return {
                feature.name: self._leaving(feature.name, outputs[feature.name], numerics)
                for feature in self.outputs
            }

    def _entering(self, name: str, array: Array, numerics: Numerics) -> Tensor:
        type_ = _tensor_type(self._plan.inputs[name][1])
        assert type_ is not None  # _check_ports has seen to it
        tensor = numerics.tensor(array, type_.dtype)
        try:
            return Declared(type_).settle(tensor, numerics)
        except (TypeError, ValueError) as error:
            raise RuntimeFailure(f"{self.path}: its input {one_line(name, 60)} {error}") from None

    def _leaving(self, name: str, value: object, numerics: Numerics) -> Array:
        """A copy: what an operator passes through is the caller's own memory, or a constant."""
        if isinstance(value, str):
            return np.array(value)
        if not isinstance(value, Tensor):
            raise self._contradiction("outputs")
        type_ = _tensor_type(self._plan.types[name])
        return (numerics.array(value, type_.dtype) if type_ else value.numpy()).copy()

    def _checked(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs in their declared types, those left out with their defaults."""
        names = {feature.name for feature in self.inputs}
        strange = sorted(inputs.keys() - names)
        if strange:
            raise UsageError(f"{self.path}: has no input {one_line(', '.join(strange))}")
        return {
            feature.name: feature.checked(self.path, inputs.get(feature.name))
            for feature in self.inputs
        }

    def _check_ports(self) -> None:
        described = [*self.inputs, *self._states]
        if {feature.name for feature in described} != self._plan.inputs.keys():
            raise self._contradiction("inputs")
        for feature in described:
            _, type_ = self._plan.inputs[feature.name]
            as_state = isinstance(type_, StateType)
            if as_state != (feature in self._states) or _tensor_type(type_) is None:
                raise self._contradiction(f"the input {one_line(feature.name, 60)}")
        if not {feature.name for feature in self.outputs} <= set(self._plan.outputs):
            raise self._contradiction("outputs")

    def _contradiction(self, what: str) -> ArtifactError:
        return ArtifactError(f"{self.path}: its description and its program disagree about {what}")

    def _unknown(self, what: object) -> UnverifiableError:
        return UnverifiableError(
            f"{self.path}: the evaluator does not know the operator {one_line(what, 300)}"
        )

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        """Turns what the run says of operators into errors that name the file."""
        try:
            yield
        except UnknownOperator as error:
            raise self._unknown(error) from None
        except OperatorFailure as error:
            raise RuntimeFailure(f"{self.path}: {error}") from None


def _tensor_type(type_: Type) -> ValueType | None:
    """The type of a tensor, or of the tensor that a state holds; None for anything else."""
    wrapped = type_.wrapped if isinstance(type_, StateType) else type_
    return wrapped if isinstance(wrapped, ValueType) else None


def _finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
