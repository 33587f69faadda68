"""How a network gets into a file: captured, rewritten, and then emitted directly or not.

The direct route goes from the rewritten graph to a `Program` and writes the file itself; it takes
a fraction of a vendor's converter's time. What it does not cover in full goes through the vendor's
converter, which is then given the rewritten graph as a module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .errors import ConversionError
from .lowering.lower import lower
from .lowering.program import NotCovered, Program
from .recipe import Recipe
from .rewrite import REWRITES, rewrite
from .rewrite.canonical import canonicalise
from .rewrite.capture import Unsupported, capture
from .rewrite.network import Network

if TYPE_CHECKING:
    from .deploy import Form


@dataclass(frozen=True)
class Route:
    """What the manifest says of how a file was made.

    `reason` is why the direct route was not taken, None where it was, or was not asked for.
    """

    emitter: str
    reason: str | None = None
    rewrites: Mapping[str, int] = field(default_factory=dict)


class Rewritten:
    """A form's network after rewrites, and how often each was applied.

    Where the graph cannot be captured the form's own module stands in its place, with the reason.
    """

    def __init__(self, form: Form, target: str, names: tuple[str, ...]) -> None:
        self._form = form
        self._network: Network | None = None
        self._program: Program | NotCovered | None = None
        self.counts: Mapping[str, int] = {}
        self.reason: str | None = None
        try:
            network = capture(form.exported())
        except Unsupported as error:
            self.reason = str(error)
            return
        canonicalise(network)
        self.counts = rewrite(network, target, names)
        self._network = network

    def program(self) -> Program:
        """Raises NotCovered where no direct route covers the graph."""
        if self._network is None:
            raise NotCovered(self.reason)
        if self._program is None:
            try:
                self._program = lower(
                    self._network, list(self._form.examples), self._form.output_names
                )
            except NotCovered as error:
                self._program = error
        if isinstance(self._program, NotCovered):
            raise self._program
        return self._program

    def module(self) -> nn.Module:
        """What a vendor's converter is given: keyword tensors in, a dictionary of tensors out."""
        if self._network is None or not self.counts:
            return self._form.module
        names = list(self._form.examples)
        return _Keyword(self._network.module(), names, self._form.output_names).eval()


class _Keyword(nn.Module):
    """A graph behind the form's interface."""

    def __init__(self, graph: nn.Module, inputs: list[str], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.network = graph  # not `graph`: a traced module has one of its own
        self.inputs = inputs
        self.outputs = outputs

    def forward(self, **tensors: Tensor) -> dict[str, Tensor]:
        results = self.network(*(tensors[name] for name in self.inputs))
        return dict(zip(self.outputs, results, strict=True))


def rewritten(form: Form, recipe: Recipe) -> Rewritten:
    """The form after the recipe's rewrites, as far as its target wants them.

    Targets that want the same share the work.
    """
    chosen = REWRITES if recipe.rewrites is None else recipe.rewrites
    names = tuple(
        name for name, one in REWRITES.items() if name in chosen and recipe.target in one.targets
    )
    if names not in form.rewritten:
        form.rewritten[names] = Rewritten(form, recipe.target, names)
    return form.rewritten[names]


def export(module: nn.Module, form: Form) -> torch.export.ExportedProgram:
    """The exported graph of a module that stands in the form's place."""
    if module is form.module:
        return form.exported()
    with torch.no_grad():
        return torch.export.export(module, (), dict(form.examples))


def refuse(error: NotCovered) -> ConversionError:
    """For a recipe that asks for the direct route and nothing else."""
    return ConversionError(
        f"the direct emitter does not cover this module: {error}", "use --emitter auto"
    )
