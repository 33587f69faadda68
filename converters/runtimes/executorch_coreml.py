""".pte files whose graph is CoreML's: the packages inside, on the MIL evaluator.

ExecuTorch's CoreML backend runs on Apple's systems only. Where it has taken over the whole graph,
what is left of the program is the order of its delegates, which is followed here.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact import Arrays
from ..errors import MissingExtraError, MvkitError, UnverifiableError, one_line
from ..formats.coreml_payload import BACKEND, CoremlDelegate, read_coreml, write_package
from ..formats.pte import Instruction, Method, Tensor, read_pte
from ..manifest import GraphSummary
from .base import SessionRequest
from .executorch import ports


class CoremlDelegatesSession:
    """The method `forward` of a file; inputs and outputs take the request's names by position."""

    runtime = "MIL evaluator (storage mode, an estimate of a device's numerics)"

    def __init__(self, request: SessionRequest) -> None:
        import torch

        torch.set_num_threads(request.threads)
        program = read_pte(Path(request.file))
        self._method = program.method()
        _check_nothing_outside(self._method)
        self.inputs, self.outputs = ports(self._method, request)
        self._constants = {
            index: _array(value)
            for index, value in enumerate(self._method.values)
            if isinstance(value, Tensor) and value.constant and index in self._method.outputs
        }
        # The weights are read when they are used. The folder goes with the parent's own.
        folder = Path(tempfile.mkdtemp(prefix="mvkit-coreml-"))
        self._delegates = {
            number: _Package(read_coreml(program, delegate), folder / str(number))
            for number, delegate in enumerate(self._method.delegates)
            if delegate.backend == BACKEND
        }

    def run(self, inputs: Arrays) -> Arrays:
        method = self._method
        values = dict(self._constants)
        for port, index in zip(self.inputs, method.inputs, strict=True):
            values[index] = inputs[port.name]
        for step in method.instructions:
            self._call(step, values)
        outputs = zip(self.outputs, method.outputs, strict=True)
        return {port.name: values[index] for port, index in outputs}

    def summary(self) -> GraphSummary:
        """Operators of the packages' programs; nothing is outside."""
        operators: Counter[str] = Counter()
        for package in self._delegates.values():
            operators.update(package.evaluator.operators)
        del operators["const"]
        return GraphSummary(
            dict(operators.most_common()),
            BACKEND,
            len(self._delegates),
            {},
            sum(self._method.planned_memory),
        )

    def _call(self, step: Instruction, values: dict[int, Any]) -> None:
        """Runs a delegate on the values that its arguments name, and adds what it computes."""
        assert step.delegate is not None  # _check_nothing_outside
        package = self._delegates[step.delegate]
        taken = step.arguments[: len(package.inputs)]
        given = step.arguments[len(package.inputs) :]
        if len(given) != len(package.outputs) or not values.keys() >= set(taken):
            raise ValueError("a delegate call and its package disagree about their arguments")
        results = package.run([values[index] for index in taken])
        for index, array in zip(given, results, strict=True):
            tensor = self._method.values[index]
            if not isinstance(tensor, Tensor):
                raise ValueError("a delegate's result is no tensor")
            # CoreML has int32 only; the backend widens and narrows at the border, as here.
            values[index] = array.astype(tensor.dtype).reshape(tensor.shape or array.shape)


class _Package:
    """A delegate's package on the evaluator, with its arguments by position."""

    def __init__(self, content: CoremlDelegate, folder: Path) -> None:
        from .mil import Evaluator

        self.inputs, self.outputs = content.inputs, content.outputs
        self._path = write_package(content, folder)
        with self._named():
            self.evaluator = Evaluator(self._path)

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        # The backend gives single numbers an axis.
        named = dict(zip(self.inputs, map(np.atleast_1d, arrays), strict=True))
        with self._named():
            results = self.evaluator.run(named)
        return [np.asarray(results[name]) for name in self.outputs]

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors that speak of the package and not of its temporary place."""
        try:
            yield
        except MissingExtraError:
            raise
        except MvkitError as error:
            message = error.message.replace(str(self._path), "its CoreML package")
            raise type(error)(message, error.hint) from error


def open_session(request: SessionRequest) -> CoremlDelegatesSession:
    return CoremlDelegatesSession(request)


def _array(tensor: Tensor) -> Any:
    """The data of a constant, which is stored with its axes in the order `dim_order`."""
    assert tensor.constant is not None
    stored = [tensor.shape[axis] for axis in tensor.dim_order]
    array = np.frombuffer(tensor.constant.data, tensor.dtype).reshape(stored)
    return array.transpose(np.argsort(tensor.dim_order).astype(int))


def _check_nothing_outside(method: Method) -> None:
    """Raises UnverifiableError unless CoreML computes all of the method."""
    outside = dict(method.outside())
    for step in method.instructions:
        if step.kind != "kernel" and step.name != BACKEND:
            outside[step.name] = outside.get(step.name, 0) + 1
    if outside:
        listed = ", ".join(f"{name} ({count})" for name, count in outside.items())
        raise UnverifiableError(f"operators outside the CoreML delegate: {one_line(listed)}")
