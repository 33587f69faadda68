"""A `Program` as a .tflite file, without a converter."""

from __future__ import annotations

from ..lowering.program import Program
from .tflite_file import TfliteFile
from .tflite_operators import translate


def emit(program: Program) -> bytes:
    """The file, with one signature: its inputs by their tensors' names, outputs by the program's.

    Raises NotCovered where TFLite has no operators for what the program does.
    """
    file = TfliteFile()
    inputs = {tensor.name: file.tensor(tensor) for tensor in program.inputs}
    for operation in program.operations:
        translate(file, operation)
    outputs = {name: file.tensor(tensor) for name, tensor in program.outputs.items()}
    return file.finish(inputs, outputs)
