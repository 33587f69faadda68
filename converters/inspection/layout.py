"""Places for the nodes of a graph: layers from top to bottom, few crossings, straight edges.

The layered method of Sugiyama, Tagawa and Toda (IEEE Trans. SMC 11(2), 1981): longest-path layers,
an invisible place in every layer that an edge passes, layers ordered by the mean of their
neighbours. Horizontal places then are the least-squares answer to "each node below the mean of
its neighbours, none overlapping", layer by layer, by pooling adjacent violators.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GAP_X = 24.0  # between neighbours in a layer, in the units of the widths
GAP_Y = 30.0
_SWEEPS = 12  # down and up again; later ones move hardly anything
_EDGE_WIDTH = 6.0  # what a passing edge takes


@dataclass(frozen=True)
class Layout:
    """Centres of the nodes, and for each edge the points that it passes, both ends included."""

    centres: tuple[tuple[float, float], ...]
    paths: tuple[tuple[tuple[float, float], ...], ...]
    width: float
    height: float


def lay_out(widths: Sequence[float], height: float, edges: Sequence[tuple[int, int]]) -> Layout:
    """Places nodes of the given widths and one height; an edge goes from a node to a later one.

    Raises ValueError for an edge that goes back: the order of the nodes is that of execution.
    """
    if any(start >= end for start, end in edges):
        raise ValueError("an edge leads back to an earlier node")
    if not widths:
        return Layout((), (), 0.0, 0.0)
    layer_of = _layers(len(widths), edges)
    all_widths, chains = list(widths), []
    for start, end in edges:
        passed = range(layer_of[start] + 1, layer_of[end])
        chains.append([start, *range(len(all_widths), len(all_widths) + len(passed)), end])
        all_widths += [_EDGE_WIDTH] * len(passed)
        layer_of += passed
    links = sorted({pair for chain in chains for pair in itertools.pairwise(chain)})
    before: list[list[int]] = [[] for _ in all_widths]
    after: list[list[int]] = [[] for _ in all_widths]
    for start, end in links:
        after[start].append(end)
        before[end].append(start)
    layers: list[list[int]] = [[] for _ in range(max(layer_of) + 1)]
    for node, layer in enumerate(layer_of):
        layers[layer].append(node)
    _order(layers, before, after)
    xs = _columns(layers, before, after, all_widths)
    ys = [layer * (height + GAP_Y) + height / 2 for layer in layer_of]
    left = min(x - w / 2 for x, w in zip(xs, all_widths, strict=True))
    right = max(x + w / 2 for x, w in zip(xs, all_widths, strict=True))
    places = [(x - left, y) for x, y in zip(xs, ys, strict=True)]
    return Layout(
        centres=tuple(places[: len(widths)]),
        paths=tuple(tuple(places[node] for node in chain) for chain in chains),
        width=right - left,
        height=len(layers) * (height + GAP_Y) - GAP_Y,
    )


def _layers(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """The longest way to each node; one that nothing leads to stands right above its reader."""
    layer = [0] * count
    roots = set(range(count))
    for start, end in sorted(edges, key=lambda edge: edge[1]):
        layer[end] = max(layer[end], layer[start] + 1)
        roots.discard(end)
    readers: dict[int, int] = {}
    for start, end in edges:
        readers[start] = min(readers.get(start, layer[end]), layer[end])
    for root in roots & readers.keys():
        layer[root] = readers[root] - 1
    return layer


def _order(layers: list[list[int]], before: list[list[int]], after: list[list[int]]) -> None:
    """Sorts each layer by the mean place of its neighbours, down and up, a few times."""
    place = {node: float(i) for layer in layers for i, node in enumerate(layer)}
    for sweep in range(_SWEEPS):
        neighbours = after if sweep % 2 else before
        for layer in reversed(layers) if sweep % 2 else layers:
            keys = {node: _mean(place, neighbours[node], place[node]) for node in layer}
            layer.sort(key=keys.__getitem__)
            place.update((node, float(i)) for i, node in enumerate(layer))


def _mean(place: dict[int, float], nodes: list[int], otherwise: float) -> float:
    return sum(place[node] for node in nodes) / len(nodes) if nodes else otherwise


def _columns(
    layers: list[list[int]],
    before: list[list[int]],
    after: list[list[int]],
    widths: list[float],
) -> list[float]:
    place: dict[int, float] = {}
    for layer in layers:
        place.update(zip(layer, _spread(layer, [0.0] * len(layer), widths), strict=True))
    for sweep in range(_SWEEPS):
        last = sweep == _SWEEPS - 1
        for layer in reversed(layers) if sweep % 2 else layers:
            wanted = []
            for node in layer:
                chosen = after[node] if sweep % 2 else before[node]
                if last or not chosen:
                    chosen = before[node] + after[node]
                wanted.append(_mean(place, chosen, place[node]))
            place.update(zip(layer, _spread(layer, wanted, widths), strict=True))
    return [place[node] for node in range(len(widths))]


def _spread(layer: list[int], wanted: list[float], widths: list[float]) -> list[float]:
    """Places nearest to those wanted, in the sum of squares, that keep order and gaps."""
    offsets, offset = [], 0.0
    for left, right in zip([None, *layer], layer, strict=False):
        if left is not None:
            offset += (widths[left] + widths[right]) / 2 + GAP_X
        offsets.append(offset)
    pools: list[tuple[float, int]] = []  # mean and size: neighbours that touch move together
    for value, shift in zip(wanted, offsets, strict=True):
        mean, size = value - shift, 1
        while pools and pools[-1][0] > mean:
            other, count = pools.pop()
            mean = (mean * size + other * count) / (size + count)
            size += count
        pools.append((mean, size))
    starts = [mean for mean, size in pools for _ in range(size)]
    return [start + shift for start, shift in zip(starts, offsets, strict=True)]
