"""CoreML packages (.mlpackage with an mlProgram) through coremltools.

Inputs and outputs are float32 or int32 in every package, in half precision too: an app fills and
reads MLMultiArrays of one type whatever the network computes in. An image input is a photo as the
system has it, values 0..255, and the graph normalises it.
"""

from __future__ import annotations

import errno
import gc
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConversionError, MissingExtraError, UsageError, one_line
from ..recipe import Recipe

if TYPE_CHECKING:
    from ..deploy import Form
    from ..route import Route
    from .coreml_trace import Traced

SUFFIX = ".mlpackage"
TOOLS = ("torch", "coremltools")
# MLMultiArray has float32 and int32 since iOS 11; float16 and float64 would be further types to
# fill for no gain, and it has no others.
FILE_DTYPES = {
    "float16": "float32",
    "float64": "float32",
    "bool": "int32",
    "uint8": "int32",
    "int8": "int32",
    "int16": "int32",
    "int64": "int32",
}
OPTIONS = (
    "precision",
    "minimum_deployment_target",
    "input_kind",
    "sizes",
    "dynamic_batch",
    "author",
    "licence",
    "version",
    "description",
)
DEPLOYMENT_TARGETS = ("iOS16", "iOS17", "iOS18")
# How coremltools' C++ part begins when it cannot write; it raises RuntimeError for everything.
_DISK_TROUBLE = ("filesystem error", "[MIL FileWriter]", "[MIL StorageWriter]")


def require() -> None:
    for package in ("torch", "coremltools"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "coreml")


def complete(recipe: Recipe) -> Recipe:
    target = recipe.minimum_deployment_target or DEPLOYMENT_TARGETS[0]
    if target not in DEPLOYMENT_TARGETS:
        raise UsageError(
            f"unknown deployment target '{one_line(target, 40)}'",
            f"known: {', '.join(DEPLOYMENT_TARGETS)}",
        )
    if recipe.dynamic_batch is not None and recipe.sizes:
        raise UsageError("a CoreML input has either a list of sizes or a dynamic batch, not both")
    if recipe.dynamic_batch is not None and recipe.input_kind == "image":
        raise UsageError("a CoreML image input holds one photo; leave the dynamic batch out")
    return replace(recipe, minimum_deployment_target=target)


def runtime(recipe: Recipe) -> str:
    return "mil"


def save(form: Form, path: Path, recipe: Recipe) -> Route:
    """Converts `form` into the package `path`; see `Target.save`.

    Raises UsageError for an input that CoreML has no type for.
    """
    import torch

    from ..route import Route
    from . import coreml_package, coreml_trace

    _check_inputs(form, recipe)
    dtypes = {getattr(torch, a): getattr(torch, b) for a, b in FILE_DTYPES.items()}
    traced = coreml_trace.Traced(form.module, form, dtypes)
    traced.check_flexible(recipe)
    model = _convert(form, traced, path, recipe)
    coreml_package.finish(model.get_spec(), path, form, recipe)
    return Route("coremltools")


def _check_inputs(form: Form, recipe: Recipe) -> None:
    for one in form.interface.inputs:
        spec = one.spec
        if not spec.shape:
            raise UsageError(f"a CoreML input has at least one axis; '{spec.name}' has none")
        if spec.kind == "image":
            if spec.shape[0] != 1 or spec.shape[1] not in (1, 3):
                raise UsageError(
                    "a CoreML image input is one photo, RGB or grey (1,3,H,W or 1,1,H,W); "
                    f"'{spec.name}' is {','.join(map(str, spec.shape))}"
                )
        elif spec.dtype not in ("float32", "int32"):
            raise UsageError(
                f"CoreML has no arrays of type {spec.dtype} ('{spec.name}')",
                "an image input takes photos as they are: --input-kind image"
                if spec.dtype == "uint8"
                else None,
            )
    batches = {one.spec.shape[0] for one in form.interface.inputs}
    if recipe.dynamic_batch is not None and len(batches) > 1:
        shown = " and ".join(map(str, sorted(batches)))
        raise UsageError(f"the inputs of a dynamic batch have one first axis, not {shown}")
    shared = {one.spec.name for one in form.interface.inputs} & set(form.output_names)
    if shared:
        raise UsageError(
            f"CoreML cannot call an input and an output the same: '{min(shared)}'",
            "give the output another name",
        )


def _convert(form: Form, traced: Traced, path: Path, recipe: Recipe) -> Any:
    """The package that coremltools writes to `path`, as a `coremltools.models.MLModel`."""
    import coremltools as ct
    import numpy as np
    import torch

    from . import coreml_operators

    coreml_operators.register()
    passes = ct.PassPipeline()
    # Indices in 16 bits come with operators that guard them; the two precisions of a network would
    # no longer be the same program.
    passes.remove_passes({"common::add_int16_cast"})
    results = [
        ct.TensorType(name=name, dtype=np.int32 if y.dtype == torch.int32 else np.float32)
        for name, y in zip(form.output_names, traced.results, strict=True)
    ]
    # coremltools collects garbage again and again; what was there before is none of it.
    gc.freeze()
    try:
        return ct.convert(
            traced.graph,
            inputs=_input_types(form, recipe),
            outputs=results,
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, str(recipe.minimum_deployment_target)),
            compute_precision=ct.precision.FLOAT16
            if recipe.precision == "fp16"
            else ct.precision.FLOAT32,
            pass_pipeline=passes,
            package_dir=str(path),
            skip_model_load=True,
        )
    except OSError:
        raise  # the disk, not the module
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        if any(mark in reason for mark in _DISK_TROUBLE):
            raise OSError(errno.EIO, f"coremltools cannot write: {one_line(reason)}") from error
        raise ConversionError(
            f"coremltools cannot convert this module: {type(error).__name__}: "
            f"{one_line(reason, 300)}",
            "--debug shows all of it",
        ) from error
    finally:
        gc.unfreeze()


def _input_types(form: Form, recipe: Recipe) -> list[Any]:
    import coremltools as ct
    import numpy as np

    from .coreml_trace import resized

    inputs = [one.spec for one in form.interface.inputs]
    if recipe.dynamic_batch is not None:
        # One object, and with it one symbol: the inputs of a call have the same batch.
        batch = ct.RangeDim(1, recipe.dynamic_batch, default=inputs[0].shape[0])
    types = []
    for spec in inputs:
        shape: Any = spec.shape
        if spec.sizes:
            shapes = {spec.shape, *(resized(spec, size) for size in recipe.sizes)}
            if len(shapes) > 1:
                shape = ct.EnumeratedShapes(sorted(shapes), default=spec.shape)
        elif recipe.dynamic_batch is not None:
            shape = (batch, *spec.shape[1:])
        if spec.kind == "image":
            grey = spec.shape[1] == 1
            colour = ct.colorlayout.GRAYSCALE if grey else ct.colorlayout.RGB
            types.append(ct.ImageType(name=spec.name, shape=shape, color_layout=colour))
        else:
            dtype = np.int32 if spec.dtype == "int32" else np.float32
            types.append(ct.TensorType(name=spec.name, shape=shape, dtype=dtype))
    return types
