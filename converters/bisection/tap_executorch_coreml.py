"""The values of a `.pte` whose graph is one CoreML package, from the evaluator on that package."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..artifact import Arrays
from ..errors import UnverifiableError
from ..formats.coreml_payload import extract_coreml, read_coreml
from ..formats.pte import read_pte
from ..runtimes.base import SessionRequest
from . import tap_mil
from .taps import FileTrace


def trace(request: SessionRequest, inputs: Arrays) -> FileTrace:
    """Runs the method `forward`; tensors go by the names that they have in the package."""
    program = read_pte(Path(request.file))
    method = program.method()
    if len(method.instructions) != 1 or len(method.delegates) != 1:
        raise UnverifiableError("only a program that is one CoreML package can be looked into")
    package = read_coreml(program, method.delegates[0])
    arguments = method.instructions[0].arguments
    names_in = dict(zip(arguments, package.inputs, strict=False))
    names_out = dict(zip(arguments[len(package.inputs) :], package.outputs, strict=True))
    given = {
        names_in[index]: np.atleast_1d(inputs[name])  # the backend gives single numbers an axis
        for name, index in zip(request.inputs, method.inputs, strict=True)
    }
    with tempfile.TemporaryDirectory(prefix="mvkit-coreml-") as folder:
        (path,) = extract_coreml(program, Path(folder))
        traced = tap_mil.trace(replace(request, file=str(path)), given)
    return replace(
        traced,
        inputs={
            name: names_in[index] for name, index in zip(request.inputs, method.inputs, strict=True)
        },
        outputs={
            name: names_out[index]
            for name, index in zip(request.outputs, method.outputs, strict=True)
        },
    )
