"""The values of a `.pte`, from executorch's own runtime on a rewritten copy (`exposed_pte`)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..artifact import Arrays
from ..errors import MissingExtraError, UnverifiableError
from ..runtimes.base import SessionRequest
from .taps import FileTrace

if TYPE_CHECKING:
    from .exposed_pte import ExposedProgram


def trace(request: SessionRequest, inputs: Arrays) -> FileTrace:
    """Runs the method `forward`; tensors go by their index among its values."""
    try:
        import torch
        from executorch.extension.pybindings import portable_lib
    except ModuleNotFoundError as error:
        package = "torch" if error.name == "torch" else "executorch"
        raise MissingExtraError(package, "executorch") from None

    exposed = _exposed(Path(request.file).read_bytes())
    program = portable_lib._load_for_executorch_from_buffer(exposed.data)
    tensors = [torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in request.inputs]
    results = program.run_method("forward", tuple(tensors))
    values = {
        key: result.numpy(force=True)
        for key, result in zip(exposed.outputs, results, strict=True)
        if result.dtype != torch.bfloat16  # NumPy has none
    }
    given = dict(zip(request.inputs, exposed.inputs, strict=True))
    values.update({key: inputs[name] for name, key in given.items()})
    return FileTrace(
        runtime=f"executorch {version('executorch')}, with every value an output",
        operators=exposed.operators,
        values=values,
        names={},
        inputs=given,
        outputs=dict(zip(request.outputs, exposed.outputs, strict=False)),
    )


def _exposed(file: bytes) -> ExposedProgram:
    from .exposed_pte import expose

    try:
        return expose(file)
    except ValueError as error:
        raise UnverifiableError(str(error)) from None
