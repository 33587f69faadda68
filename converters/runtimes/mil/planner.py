"""From a function of a program to a plan: names to slots, arguments to parameters."""

from __future__ import annotations

import functools
import inspect
from collections import ChainMap
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ArtifactError, one_line
from .control import CondStep, WhileStep
from .numerics import Numerics, check_size
from .ops import OPERATORS
from .plan import Body, Constant, OperatorStep, Plan, Reference, Results, Step, call
from .program import Argument, Block, Function, Operation, Type, Value, Variable

Scope = ChainMap[str, Reference]
Arguments = Mapping[str, list[Reference]]

# Inputs that are lists of variables; every other one is a single variable.
_VARIADIC = {
    ("concat", "values"), ("stack", "values"), ("einsum", "values"), ("make_list", "elem_shape"),
    ("while_loop", "loop_vars"), ("reshape_like", "ref_tensors"), ("reshape_like", "begins"),
    ("reshape_like", "ends"), ("reshape_like", "end_masks"),
}  # fmt: skip

_GIVEN = ("out", "op_set")  # parameters that are not inputs of the program's operator


def make_plan(path: Path, function: Function, numerics: Numerics) -> Plan:
    """Binds all arguments of a function; no constant is read yet.

    Raises ArtifactError when the program refers to what it does not define, leaves out what an
    operator needs, or declares values of absurd size.
    """
    return _Planner(path, function.opset, numerics).plan(function)


class _Planner:
    def __init__(self, path: Path, op_set: str, numerics: Numerics) -> None:
        self._path = path
        self._op_set = op_set
        self._numerics = numerics
        self._unknown: set[str] = set()
        self._size = 0

    def plan(self, function: Function) -> Plan:
        scope: Scope = ChainMap()
        slots = self._define(function.inputs, scope)
        body, _ = self._body(function.block, scope, slots)
        results = (one for operation in function.block.operations for one in operation.outputs)
        return Plan(
            inputs={
                variable.name: (slot, variable.type)
                for variable, slot in zip(function.inputs, slots, strict=True)
            },
            body=body,
            outputs=function.block.outputs,
            types={variable.name: variable.type for variable in (*function.inputs, *results)},
            size=self._size,
            unknown=tuple(sorted(self._unknown)),
        )

    def _body(
        self, block: Block, outer: Scope, given: tuple[int, ...] = ()
    ) -> tuple[Body, set[int]]:
        """A block, and the slots that it reads and does not own.

        It owns what it defines, and the slots `given`; it frees what it owns.
        """
        scope = outer.new_child()
        inputs = self._define(block.inputs, scope)
        own = {*given, *inputs}
        steps: list[Step] = []
        last: dict[int, int] = {}  # the step that needs a slot last
        for operation in block.operations:
            if operation.type == "const" or operation.type.startswith("constexpr_"):
                self._define_constants(operation, scope)
                continue
            step, reads, defined = self._step(operation, scope)
            own.update(defined)
            last |= dict.fromkeys((*reads, *defined), len(steps))
            steps.append(step)
        outputs = tuple(self._reference(name, scope, None) for name in block.outputs)
        kept = {reference for reference in outputs if isinstance(reference, int)}
        frees: list[list[int]] = [[] for _ in steps]
        for slot, index in last.items():
            if slot in own and slot not in kept:
                frees[index].append(slot)
        freeing = tuple(zip(steps, map(tuple, frees), strict=True))
        return Body(inputs, freeing, outputs), (last.keys() | kept) - own

    def _step(self, operation: Operation, scope: Scope) -> tuple[Step, set[int], tuple[int, ...]]:
        """An operation's step, the slots that it reads, and those of its results."""
        arguments = self._arguments(operation, operation.inputs, scope)
        bodies = [self._body(block, scope) for block in operation.blocks]
        reads = {one for many in arguments.values() for one in many if isinstance(one, int)}
        reads.update(*(outside for _, outside in bodies))
        defined = self._define(operation.outputs, scope)
        results = Results(operation, defined)
        blocks = [body for body, _ in bodies]
        step: Step
        if operation.type == "cond":
            step = self._cond(operation, arguments, blocks, results)
        elif operation.type == "while_loop":
            step = self._while(operation, arguments, blocks, results)
        else:
            function = self._function(operation, arguments)
            passed = {} if function is _never else self._passed(operation, arguments)
            given = self._given(operation, function)
            step = OperatorStep(operation, function, passed, given, results)
        return step, reads, defined

    def _cond(
        self, operation: Operation, arguments: Arguments, blocks: list[Body], results: Results
    ) -> CondStep:
        fits = arguments.keys() == {"pred"} and len(arguments["pred"]) == 1
        if not fits or len(blocks) != 2 or any(block.inputs for block in blocks):
            raise self._malformed(operation)
        return CondStep(operation, arguments["pred"][0], blocks[0], blocks[1], results)

    def _while(
        self, operation: Operation, arguments: Arguments, blocks: list[Body], results: Results
    ) -> WhileStep:
        count = len(arguments.get("loop_vars", ()))
        if arguments.keys() != {"loop_vars"} or len(blocks) != 2:
            raise self._malformed(operation)
        condition, body = blocks
        sizes = (len(condition.inputs), len(body.inputs), len(body.outputs))
        if sizes != (count,) * 3 or len(condition.outputs) != 1:
            raise self._malformed(operation)
        return WhileStep(operation, tuple(arguments["loop_vars"]), condition, body, results)

    def _function(self, operation: Operation, arguments: Arguments) -> Callable[..., Any]:
        """What computes an operation; one that is not known is noted, and never run."""
        function = OPERATORS.get(operation.type)
        if function is None or operation.blocks:
            self._unknown.add(one_line(operation.type, 60))
            return _never
        parameters = _parameters(function)
        for name in sorted(arguments.keys() - parameters.required - parameters.optional):
            self._unknown.add(f"{operation.type} (parameter {one_line(name, 60)})")
        missing = parameters.required - arguments.keys()
        if missing:
            raise self._damaged(
                f"operator {operation.type} ({one_line(operation.name, 60)}) lacks its input "
                + ", ".join(sorted(missing))
            )
        return function

    def _given(self, operation: Operation, function: Callable[..., Any]) -> dict[str, Any]:
        given = {"op_set": self._op_set, "out": tuple(v.type for v in operation.outputs)}
        return {name: given[name] for name in _parameters(function).given}

    def _passed(
        self, operation: Operation, arguments: Arguments
    ) -> dict[str, Reference | list[Reference]]:
        """Arguments as a function takes them: lists for variadic inputs, else one each."""
        passed: dict[str, Reference | list[Reference]] = {}
        for name, references in arguments.items():
            if (operation.type, name) in _VARIADIC:
                passed[name] = references
            elif len(references) == 1:
                passed[name] = references[0]
            else:
                raise self._malformed(operation)
        return passed

    def _arguments(
        self, operation: Operation, inputs: Mapping[str, tuple[Argument, ...]], scope: Scope
    ) -> Arguments:
        """References for all inputs; an input without an argument is one left out."""
        return {
            name: [
                self._reference(argument, scope, operation)
                if isinstance(argument, str)
                else self._constant(argument)
                for argument in arguments
            ]
            for name, arguments in inputs.items()
            if arguments
        }

    def _reference(self, name: str, scope: Scope, reader: Operation | None) -> Reference:
        if name not in scope:
            who = "a block" if reader is None else f"operator {one_line(reader.type, 60)}"
            raise self._damaged(f"{who} reads {one_line(name, 60)}, which nothing defines")
        return scope[name]

    def _constant(self, value: Value) -> Constant:
        self._check("a constant", value.type)
        return Constant(lambda: self._numerics.content(value.read(), value.type))

    def _define_constants(self, operation: Operation, scope: Scope) -> None:
        """The result of a `const`, or those of a `constexpr_` operator, computed together.

        Up to iOS17 the operands of a `constexpr_` operator are its attributes, later its inputs.
        """
        if operation.type == "const":
            if "val" not in operation.attributes or len(operation.outputs) != 1:
                raise self._malformed(operation)
            constant = self._constant(operation.attributes["val"])
            together = Constant(lambda: (constant.value(),))
        else:
            inputs: dict[str, tuple[Argument, ...]] = dict(operation.inputs)
            inputs |= {n: (v,) for n, v in operation.attributes.items() if n != "name"}
            arguments = self._arguments(operation, inputs, scope)
            operands = {
                name: reference
                for name, reference in self._passed(operation, arguments).items()
                if isinstance(reference, Constant)
            }
            if operands.keys() != arguments.keys():
                raise self._malformed(operation)
            function = self._function(operation, arguments)
            given = self._given(operation, function)
            together = Constant(functools.partial(_evaluate, operation, function, operands, given))
        results = Results(operation, ())
        settled = Constant(lambda: results.settled(together.value(), self._numerics))
        for index, variable in enumerate(operation.outputs):
            self._enter(variable, scope, Constant(functools.partial(_item, settled, index)))

    def _define(self, variables: tuple[Variable, ...], scope: Scope) -> tuple[int, ...]:
        """New slots for variables."""
        first = self._size
        for variable in variables:
            self._enter(variable, scope, self._size)
            self._size += 1
        return tuple(range(first, self._size))

    def _enter(self, variable: Variable, scope: Scope, reference: Reference) -> None:
        if variable.name in scope.maps[0]:
            raise self._damaged(f"{one_line(variable.name, 60)} is defined twice")
        self._check(variable.name, variable.type)
        scope[variable.name] = reference

    def _check(self, what: str, type_: Type) -> None:
        try:
            check_size(type_)
        except ValueError as error:
            raise self._damaged(f"{one_line(what, 60)} {error}") from None

    def _malformed(self, operation: Operation) -> ArtifactError:
        name = one_line(operation.name, 60)
        return self._damaged(f"operator {one_line(operation.type, 60)} ({name}) is malformed")

    def _damaged(self, what: str) -> ArtifactError:
        return ArtifactError(f"{self._path}: its program is damaged: {what}")


def _never() -> None:
    raise AssertionError("a plan with unknown operators is not run")


@dataclass(frozen=True)
class _Parameters:
    """The names of an operator's inputs, and of what else its function asks for."""

    required: Set[str]
    optional: Set[str]
    given: Set[str]


@functools.cache
def _parameters(function: Callable[..., Any]) -> _Parameters:
    parameters = inspect.signature(function).parameters
    inputs = {name: p for name, p in parameters.items() if name not in _GIVEN}
    required = {name for name, p in inputs.items() if p.default is p.empty}
    return _Parameters(required, inputs.keys() - required, parameters.keys() - inputs.keys())


def _evaluate(
    operation: Operation,
    function: Callable[..., Any],
    arguments: Mapping[str, Constant],
    given: Mapping[str, Any],
) -> tuple[Any, ...]:
    values = {name: constant.value() for name, constant in arguments.items()}
    result = call(operation, function, {**values, **given})
    return result if isinstance(result, tuple) else (result,)


def _item(together: Constant, index: int) -> Any:
    return together.value()[index]
