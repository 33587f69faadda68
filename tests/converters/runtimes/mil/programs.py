"""Small MIL programs, built with coremltools' builder and saved as packages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

logging.getLogger("coremltools").setLevel(logging.ERROR)  # versions that it was not tested with

import coremltools as ct  # noqa: E402
from coremltools.converters.mil import Builder as mb  # noqa: E402
from coremltools.converters.mil.mil import Function, Program, types  # noqa: E402

_TYPES = {"fp16": types.fp16, "fp32": types.fp32, "int32": types.int32, "bool": types.bool}


def save_program(
    function: Callable[..., Any],
    inputs: Mapping[str, Any],
    path: Path,
    target: Any = ct.target.iOS16,
    ports: Sequence[Any] | None = None,
) -> Path:
    """Saves the program that `function` builds from one variable for each input.

    `inputs` are shapes and MIL types by name, as in `{"x": ((1, 3), "fp32")}`, or specifications
    of the builder; `ports` are coremltools' types of inputs, where images or flexible shapes are
    wanted. The function is called with the variables by name and returns one or several.
    Nothing is optimised and no type is changed: the file holds the operators that it names.
    """
    specs = {
        name: mb.TensorSpec(shape=spec[0], dtype=_TYPES[spec[1]])
        if isinstance(spec, tuple)
        else spec
        for name, spec in inputs.items()
    }
    with Function(specs, target) as main:
        outputs = function(**main.inputs)
        main.set_outputs(list(outputs) if isinstance(outputs, tuple | list) else [outputs])
    program = Program()
    program.add_function("main", main)
    return save(program, path, target, inputs=ports)


def save(program: Any, path: Path, target: Any = ct.target.iOS16, **options: Any) -> Path:
    """Saves a program of the builder, unoptimised and with the types that it has."""
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
        **options,
    )
    model.save(str(path))
    return path


def edit(path: Path, change: Callable[[Any], object]) -> Path:
    """Changes a package's model, which `change` gets as a message of type `Model`."""
    file = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    model = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
    change(model)
    file.write_bytes(model.SerializeToString())
    return path


def main_block(model: Any) -> Any:
    """The block of the function main in a model's message."""
    function = model.mlProgram.functions["main"]
    return function.block_specializations[function.opset]


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Normally distributed float32 values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
