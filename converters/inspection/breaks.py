"""What breaks a graph into partitions: the operators that stand outside, and why.

No runtime says why it leaves an operator out. The reasons follow from the file and from what the
delegate is known to take; where they do not, that is what is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import executorch_rules, tflite_rules
from .graph import Graph, Node

_UNUSED = ("nothing reads its results, so that it does not show where it runs", None)


@dataclass(frozen=True)
class Break:
    """Operators of one kind that stand outside all partitions for one reason."""

    operator: str
    count: int
    reason: str
    mend: str | None  # what would keep it inside, where that is known
    nodes: tuple[int, ...]  # indices into `Graph.nodes`


def find_breaks(graph: Graph) -> tuple[Break, ...]:
    """The most frequent first; empty where nothing is outside, or nothing was to be inside."""
    explain = _rules(graph)
    if explain is None:
        return ()
    used = {*graph.outputs, *(tensor for node in graph.nodes for tensor in node.inputs)}
    found: dict[tuple[str, str, str | None], list[int]] = {}
    for i, node in enumerate(graph.nodes):
        if node.partition is not None or node.scope:
            continue
        reason = explain(graph, node) if used.intersection(node.outputs) else _UNUSED
        found.setdefault((node.operator, *reason), []).append(i)
    breaks = [
        Break(operator, len(nodes), reason, mend, tuple(nodes))
        for (operator, reason, mend), nodes in found.items()
    ]
    return tuple(sorted(breaks, key=lambda one: -one.count))


def _rules(graph: Graph) -> Callable[[Graph, Node], tuple[str, str | None]] | None:
    if graph.partitions is None:
        return None
    if graph.format == "TFLite":
        return tflite_rules.explain
    delegates = {one.delegate for one in graph.partitions}
    if executorch_rules.BACKEND in delegates:
        return executorch_rules.explain
    if delegates:
        return lambda graph, node: ("not taken by the delegate; why is not known", None)
    return None
