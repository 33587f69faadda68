"""The values of a CoreML package, from the evaluator (`converters.runtimes.mil`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..artifact import Arrays
from ..runtimes.base import SessionRequest
from .taps import FileOperator, FileTrace

if TYPE_CHECKING:
    from torch import Tensor

    from ..runtimes.mil.program import Operation


def trace(request: SessionRequest, inputs: Arrays) -> FileTrace:
    """Runs the package's default function; tensors go by the names of their variables.

    Of an operation in a loop the last turn is kept.
    """
    import torch

    from ..runtimes.mil import Evaluator
    from ..runtimes.mil.session import EvaluatorSession

    torch.set_num_threads(request.threads)
    values: dict[str, NDArray[Any]] = dict(inputs)
    operations: dict[str, Operation] = {}  # by the name of each result

    def watch(operation: Operation, name: str, tensor: Tensor) -> None:
        operations[name] = operation
        values[name] = tensor.numpy(force=True).copy()

    outputs = Evaluator(request.file).run(inputs, watch=watch)
    for name, array in outputs.items():  # of which one may be a constant
        if array.dtype.kind in "fiub":
            values.setdefault(name, array)
    operators = tuple(
        FileOperator(
            operation.type,
            tuple(
                argument
                for arguments in operation.inputs.values()
                for argument in arguments
                if isinstance(argument, str) and argument in values
            ),
            tuple(one.name for one in operation.outputs if one.name in values),
        )
        for operation in dict.fromkeys(operations.values())
    )
    return FileTrace(
        runtime=EvaluatorSession.runtime,
        operators=operators,
        values=values,
        names={name: name for name in values},
        inputs={name: name for name in inputs},
        outputs={name: name for name in outputs if name in values},
    )
