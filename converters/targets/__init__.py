"""From a source in its deployed form to a saved file: one module a target.

A target is a module with `SUFFIX` (of the file), `TOOLS` (packages whose versions the manifest
records), `FILE_DTYPES` (types that the format has not, with their substitutes), `OPTIONS` (the
fields of a `Recipe` that it knows) and the functions of `Target`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..errors import UsageError
from ..recipe import Recipe, foreign_options
from ..rewrite import rewrites_named

if TYPE_CHECKING:
    from ..deploy import Form
    from ..route import Route

TARGETS = ("tflite", "coreml", "executorch")


class Target(Protocol):
    """What this package's modules provide."""

    SUFFIX: str
    TOOLS: tuple[str, ...]
    FILE_DTYPES: Mapping[str, str]
    OPTIONS: tuple[str, ...]

    def require(self) -> None:
        """Raises MissingExtraError unless the converter is installed."""

    def complete(self, recipe: Recipe) -> Recipe:
        """The recipe with this target's defaults; UsageError for a value that it has not."""

    def runtime(self, recipe: Recipe) -> str:
        """The module of `converters.runtimes` that runs the file."""

    def save(self, form: Form, path: Path, recipe: Recipe) -> Route:
        """Converts `form` into the file, or the folder, `path`; says how.

        Raises ConversionError when the vendor's converter refuses the module.
        """


def target_named(name: str) -> Target:
    """The module of a target; raises UsageError with a suggestion for an unknown name."""
    if name not in TARGETS:
        close = difflib.get_close_matches(name, TARGETS, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(TARGETS)}, all"
        raise UsageError(f"unknown target '{name}'", hint)
    return cast(Target, importlib.import_module(f"converters.targets.{name}"))


def parse_targets(text: str) -> tuple[str, ...]:
    """Reads "tflite,coreml" or "all"; raises UsageError for an unknown name."""
    names = TARGETS if text == "all" else tuple(dict.fromkeys(text.split(",")))
    for name in names:
        target_named(name)
    return names


def complete(recipe: Recipe) -> Recipe:
    """The recipe with its target's defaults; UsageError for an option that the target has not."""
    target = target_named(recipe.target)
    for flag in foreign_options(recipe, target.OPTIONS).values():
        raise UsageError(f"{flag} is not for {recipe.target}")
    if recipe.rewrites is not None:
        recipe = replace(recipe, rewrites=rewrites_named(recipe.rewrites))
    return target.complete(recipe)


def for_targets(targets: Sequence[str], recipe: Recipe) -> tuple[Recipe, ...]:
    """One recipe for several targets, each with the options that it knows.

    Raises UsageError for an option that none of them knows.
    """
    foreign = [foreign_options(recipe, target_named(name).OPTIONS) for name in targets]
    for option in foreign[0]:
        if all(option in others for others in foreign):
            raise UsageError(f"{foreign[0][option]} is not for {' or '.join(targets)}")
    default = Recipe("")
    recipes = []
    for name, options in zip(targets, foreign, strict=True):
        dropped: dict[str, Any] = {option: getattr(default, option) for option in options}
        recipes.append(complete(replace(recipe, target=name, **dropped)))
    return tuple(recipes)
