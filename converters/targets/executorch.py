""".pte files through executorch: a graph for its runtime, with parts delegated to a backend."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConversionError, MissingExtraError, UsageError, one_line
from ..recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from ..deploy import Form
    from ..route import Route

SUFFIX = ".pte"
TOOLS = ("torch", "executorch")
FILE_DTYPES: Mapping[str, str] = {}
OPTIONS = ("backend", "dynamic_batch", "rewrites", "emitter")
BACKENDS = ("xnnpack", "portable", "coreml")
EMITTERS = ("auto", "direct", "executorch")
_COREML_INPUTS = ("float16", "float32", "float64", "int16", "int32", "int64", "bool")


def require() -> None:
    for package in ("torch", "executorch"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "executorch")


def complete(recipe: Recipe) -> Recipe:
    backend = recipe.backend or BACKENDS[0]
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend '{backend}'", f"known: {', '.join(BACKENDS)}")
    if backend == "coreml" and recipe.dynamic_batch is not None:
        raise UsageError("--dynamic-batch is not for backend coreml, which leaves out a batch of 1")
    if recipe.emitter not in EMITTERS:
        raise UsageError(f"--emitter {recipe.emitter} is not for executorch")
    if backend != "xnnpack" and (recipe.rewrites or recipe.emitter == "direct"):
        flag = "--rewrites" if recipe.rewrites else "--emitter direct"
        raise UsageError(f"{flag} is not for backend {backend}")
    if recipe.emitter not in EMITTERS:
        raise UsageError(
            f"no emitter '{one_line(recipe.emitter, 40)}' for executorch",
            f"known: {', '.join(EMITTERS)}",
        )
    if backend != "xnnpack" and (recipe.rewrites or recipe.emitter == "direct"):
        raise UsageError(f"rewrites and the direct emitter are for backend xnnpack, not {backend}")
    return replace(recipe, backend=backend)


def runtime(recipe: Recipe) -> str:
    return "executorch_coreml" if recipe.backend == "coreml" else "executorch"


def save(form: Form, path: Path, recipe: Recipe) -> Route:
    from ..route import Route

    if recipe.backend == "coreml":
        _check_coreml(form)
    if recipe.backend != "xnnpack":
        _convert(form.exported(), path, recipe)
        return Route("executorch")
    from ..emit import pte
    from ..lowering.program import NotCovered
    from ..route import export, refuse, rewritten

    network = rewritten(form, recipe)
    reason = None
    if recipe.emitter != "executorch":
        try:
            path.write_bytes(pte.emit(network.program()))
            return Route("direct", None, network.counts)
        except NotCovered as error:
            if recipe.emitter == "direct":
                raise refuse(error) from None
            reason = str(error)
    module = network.module()
    _convert(export(module, form), path, recipe)
    return Route("executorch", reason, {} if module is form.module else network.counts)


def _convert(exported: ExportedProgram, path: Path, recipe: Recipe) -> None:
    try:
        from executorch.exir import to_edge_transform_and_lower

        if recipe.backend == "xnnpack":
            exported = _with_tanh_gelu_spelled_out(exported)
        edge = to_edge_transform_and_lower(exported, partitioner=_partitioners(recipe))
        program = edge.to_executorch()
    except OSError:
        raise  # the disk, not the module
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        raise ConversionError(
            f"executorch cannot convert this module: {type(error).__name__}: {reason[:300]}",
            "--debug shows all of it",
        ) from error
    with path.open("wb") as file:
        program.write_to_file(file)


def _check_coreml(form: Form) -> None:
    """What the CoreML backend would answer with a traceback."""
    if importlib.util.find_spec("coremltools") is None:
        raise MissingExtraError("coremltools", "coreml")
    for one in form.interface.inputs:
        if one.spec.dtype not in _COREML_INPUTS:
            raise ConversionError(
                f"ExecuTorch's CoreML backend takes no {one.spec.dtype} input ('{one.spec.name}')",
                "leave the preprocessing outside" if one.embedded else None,
            )


def _partitioners(recipe: Recipe) -> list[Any]:
    """What hands parts of the graph to the backend; nothing for ExecuTorch's own kernels."""
    if recipe.backend == "xnnpack":
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        return [XnnpackPartitioner()]
    if recipe.backend == "coreml":
        import coremltools
        from executorch.backends.apple.coreml.compiler import CoreMLBackend
        from executorch.backends.apple.coreml.partition import CoreMLPartitioner

        from . import coreml_operators

        coreml_operators.register()
        specs = CoreMLBackend.generate_compile_specs(
            compute_precision=coremltools.precision.FLOAT32,  # by default it rounds to fp16
            minimum_deployment_target=coremltools.target.iOS16,  # the oldest that runs these files
        )
        return [CoreMLPartitioner(compile_specs=specs)]
    return []


def _with_tanh_gelu_spelled_out(exported: ExportedProgram) -> ExportedProgram:
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) in place of each GELU of that kind.

    XNNPACK's delegate computes the exact GELU in its place, 5e-4 off: executorch pull request
    22851 mends it after 1.5.1.
    """
    import torch

    gelu = torch.ops.aten.gelu.default

    def spelled_out(x: Tensor, approximate: str = "none") -> Tensor:
        if approximate == "none":
            return NotImplemented
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))

    if any(
        n.target is gelu and n.kwargs.get("approximate") == "tanh" for n in exported.graph.nodes
    ):
        return exported.run_decompositions({gelu: spelled_out})
    return exported
