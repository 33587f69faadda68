"""What a converted file is to be, as data: its target, and what that target lets one choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Precision = Literal["fp32", "fp16"]
InputKind = Literal["tensor", "image"]
Emitter = Literal["auto", "direct", "litert", "executorch"]

BATCH_LIMIT = 8  # the largest batch of a file with `dynamic_batch`; runtimes plan memory for it


@dataclass(frozen=True)
class Recipe:
    """One file's target and options; None or empty stands for what the target has by default.

    `converters.targets.complete` fills in the defaults and refuses the options that a target has
    not.
    """

    target: str
    precision: Precision = "fp32"
    backend: str | None = None  # ExecuTorch: what runs the graph
    minimum_deployment_target: str | None = None  # CoreML: iOS16, ...
    input_kind: InputKind = "tensor"  # CoreML: an image input takes a photo's own type
    sizes: tuple[tuple[int, int], ...] = ()  # CoreML: (height, width) besides the example's
    dynamic_batch: int | None = None  # the largest batch, from 1 up
    rewrites: tuple[str, ...] | None = None  # names from `converters.rewrite`; None: all
    emitter: Emitter = "auto"  # what writes the file: the kit itself where it can, or a vendor
    author: str | None = None  # CoreML: metadata, this and the next three
    licence: str | None = None
    version: str | None = None
    description: str | None = None

    def stem(self, name: str) -> str:
        """What the file is called before its suffix, for a network of this name."""
        backend = f"-{self.backend}" if self.backend not in (None, "xnnpack") else ""
        return f"{name}-{self.precision}{backend}"

    def options(self) -> dict[str, Any]:
        """What was chosen beyond target and precision, as plain values for the manifest."""
        document = {k: v for k, v in asdict(self).items() if k not in ("target", "precision")}
        document["sizes"] = tuple(f"{h}x{w}" for h, w in self.sizes)
        return document

    @staticmethod
    def from_options(target: str, precision: Any, options: Mapping[str, Any]) -> Recipe:
        """The recipe that `options()` came from; other entries are left alone."""
        known = {f.name for f in fields(Recipe)} - {"target", "precision", "sizes"}
        sizes = []
        for text in options.get("sizes", ()):
            height, width = text.split("x")
            sizes.append((int(height), int(width)))
        chosen = {name: options[name] for name in known if name in options}
        if chosen.get("rewrites") is not None:
            chosen["rewrites"] = tuple(chosen["rewrites"])  # JSON has lists
        return Recipe(target, precision, sizes=tuple(sizes), **chosen)


_FLAGS = {
    "precision": "--precision fp16",
    "backend": "--backend",
    "minimum_deployment_target": "--minimum-deployment-target",
    "input_kind": "--input-kind image",
    "sizes": "--sizes",
    "dynamic_batch": "--dynamic-batch",
    "rewrites": "--rewrites",
    "emitter": "--emitter",
    "author": "--author",
    "licence": "--licence",
    "version": "--model-version",
    "description": "--description",
}


def foreign_options(recipe: Recipe, known: Sequence[str]) -> dict[str, str]:
    """The options that a recipe sets and that are not among `known`, with their flags."""
    default = Recipe(recipe.target)
    return {
        name: flag
        for name, flag in _FLAGS.items()
        if name not in known and getattr(recipe, name) != getattr(default, name)
    }
