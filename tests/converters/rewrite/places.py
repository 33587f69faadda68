"""What a test asks of a rewrite: where it applied, and whether the function stayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from converters.rewrite.network import Network
from tests.converters.rewrite.graphs import captured, counts, relative_error


@dataclass(frozen=True)
class Outcome:
    """A network after a rewrite; `change` is by how many calls of each operator it differs."""

    network: Network
    places: int
    change: dict[str, int]
    error: float  # relative, in double precision

    @property
    def is_same(self) -> bool:
        return self.error < 1e-12


def outcome(apply: Callable[[Network], int], module: nn.Module, *inputs: Tensor) -> Outcome:
    """Applies a rewrite to a module's network; a second time there has to be nothing to do."""
    network = captured(module, *inputs)
    expected, before = network.evaluate(*inputs), counts(network)
    places = apply(network)
    network.graph.lint()
    error = relative_error(network.evaluate(*inputs), expected)
    assert all(
        node.users for node in network.graph.nodes if node.op not in ("placeholder", "output")
    )
    after = counts(network)
    assert apply(network) == 0
    difference = Counter(after)
    difference.subtract(before)
    change = {name: count for name, count in difference.items() if count}
    return Outcome(network, places, change, error)
