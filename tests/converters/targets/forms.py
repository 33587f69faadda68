"""Modules made ready for a target, without the rest of a conversion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from converters.deploy import Deployed, ExampleInputs, Form, plan_interface
from converters.preprocessing import Preprocessing
from converters.recipe import Recipe
from converters.targets import complete, target_named
from converters.vendor_output import silenced


def make_form(
    module: nn.Module,
    examples: ExampleInputs,
    recipe: Recipe,
    *,
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    **options: Any,
) -> Form:
    """What a target's `save` takes; its examples are drawn from a seed, in the file's types."""
    backend = target_named(recipe.target)
    interface = plan_interface(
        module,
        examples,
        recipe=recipe,
        layout=options.pop("layout", "nchw"),
        preprocessing=preprocessing,
        embed_preprocessing=options.pop("embed_preprocessing", False),
        file_dtypes=backend.FILE_DTYPES,
        **options,
    )
    deployed = Deployed(module, interface).eval()
    g = torch.Generator().manual_seed(0)
    drawn: dict[str, Tensor] = {}
    for one in interface.inputs:
        dtype = getattr(torch, one.spec.dtype)
        if dtype.is_floating_point:
            drawn[one.spec.name] = torch.randn(one.spec.shape, generator=g, dtype=dtype)
        else:
            limit = 256 if dtype == torch.uint8 else 2
            drawn[one.spec.name] = torch.randint(limit, one.spec.shape, generator=g, dtype=dtype)
    with torch.no_grad():
        names = tuple(deployed(**drawn))
    return Form(deployed, drawn, names, labels)


def save(form: Form, path: Path, recipe: Recipe) -> Path:
    """Saves as `convert` would, without the converter's log."""
    with silenced():
        target_named(recipe.target).save(form, path, recipe)
    return path


def save_module(
    module: nn.Module, examples: ExampleInputs, path: Path, recipe: Recipe, **options: Any
) -> Path:
    """`make_form` and `save` with the target's defaults filled in."""
    recipe = complete(recipe)
    return save(make_form(module.eval(), examples, recipe, **options), path, recipe)
