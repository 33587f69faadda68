""".tflite files through litert-torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConversionError, MissingExtraError, UsageError
from ..recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from ..deploy import Form
    from ..route import Route

SUFFIX = ".tflite"
TOOLS = ("torch", "litert-torch", "ai-edge-litert")
FILE_DTYPES = {"int64": "int32", "float64": "float32"}  # litert-torch narrows them at the border
OPTIONS = ("dynamic_batch", "rewrites", "emitter")
EMITTERS = ("auto", "direct", "litert")


def require() -> None:
    for package, extra in (("torch", "tflite"), ("litert_torch", "tflite")):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package.replace("_", "-"), extra)


def complete(recipe: Recipe) -> Recipe:
    if recipe.emitter not in EMITTERS:
        raise UsageError(f"--emitter {recipe.emitter} is not for tflite")
    return recipe


def runtime(recipe: Recipe) -> str:
    return "tflite"


def save(form: Form, path: Path, recipe: Recipe) -> Route:
    from ..emit import tflite
    from ..lowering.program import NotCovered
    from ..route import Route, refuse, rewritten

    network = rewritten(form, recipe)
    reason = None
    if recipe.emitter != "litert":
        try:
            path.write_bytes(tflite.emit(network.program()))
            return Route("direct", None, network.counts)
        except NotCovered as error:
            if recipe.emitter == "direct":
                raise refuse(error) from None
            reason = str(error)
    module = network.module()
    # Not edge_model.export(): on a full disk it ends the process.
    path.write_bytes(_convert(module, form, recipe))
    return Route("litert-torch", reason, {} if module is form.module else network.counts)


def _convert(module: nn.Module, form: Form, recipe: Recipe) -> bytes:
    import litert_torch

    try:
        edge_model = litert_torch.convert(
            module, sample_kwargs=dict(form.examples), dynamic_shapes=form.dynamic_shapes()
        )
    except OSError:
        raise  # the disk, not the module
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        free = " with a dynamic batch" if recipe.dynamic_batch else ""
        raise ConversionError(
            f"litert-torch cannot convert this module{free}: "
            f"{type(error).__name__}: {reason[:300]}",
            "--debug shows all of it",
        ) from error
    content: bytes = edge_model.model_content()
    return content
