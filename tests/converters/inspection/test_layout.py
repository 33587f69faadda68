"""Places of nodes: nothing overlaps and edges lead down."""

from __future__ import annotations

import itertools
import random

import pytest

from converters.inspection.layout import GAP_X, lay_out
from tests.converters.inspection.handmade_graphs import random_graph

HEIGHT = 30.0


@pytest.mark.parametrize("seed", range(8))
def test_no_two_nodes_overlap_and_edges_lead_down(seed: int) -> None:
    rng = random.Random(seed)
    nodes = random_graph(seed, 120).nodes  # node i writes tensor i + 1
    edges = [(read - 1, i) for i, node in enumerate(nodes) for read in node.inputs if read]
    widths = [rng.uniform(20, 160) for _ in range(120)]
    layout = lay_out(widths, HEIGHT, edges)
    assert len(layout.centres) == 120 and len(layout.paths) == len(edges)
    rows: dict[float, list[tuple[float, float]]] = {}
    for (x, y), width in zip(layout.centres, widths, strict=True):
        rows.setdefault(y, []).append((x - width / 2, x + width / 2))
        assert x - width / 2 >= -1e-6 and x + width / 2 <= layout.width + 1e-6
        assert HEIGHT / 2 <= y <= layout.height - HEIGHT / 2
    for row in rows.values():
        for (_, right), (left, _) in itertools.pairwise(sorted(row)):
            assert left - right >= GAP_X - 1e-6
    for (start, end), path in zip(edges, layout.paths, strict=True):
        assert (path[0], path[-1]) == (layout.centres[start], layout.centres[end])
        assert all(a[1] < b[1] for a, b in itertools.pairwise(path))


def test_a_chain_is_straight() -> None:
    layout = lay_out([50.0] * 5, HEIGHT, [(i, i + 1) for i in range(4)])
    assert {x for x, _ in layout.centres} == {25.0}


def test_a_diamond_is_symmetric() -> None:
    layout = lay_out([50.0] * 4, HEIGHT, [(0, 1), (0, 2), (1, 3), (2, 3)])
    (x0, _), (x1, y1), (x2, y2), (x3, _) = layout.centres
    assert y1 == y2 and x0 == pytest.approx(x3) == pytest.approx((x1 + x2) / 2)


def test_edges_that_need_not_cross_do_not() -> None:
    """Three chains whose ends come in the opposite order."""
    edges = [(0, 5), (1, 4), (2, 3), (3, 6), (4, 7), (5, 8)]
    layout = lay_out([40.0] * 9, HEIGHT, edges)
    place = [x for x, _ in layout.centres]
    ends = [(place[a], place[b]) for a, b in edges]
    for one, other in itertools.combinations(ends[:3], 2):
        assert (one[0] - other[0]) * (one[1] - other[1]) > 0


def test_a_node_that_nothing_leads_to_stands_above_its_reader() -> None:
    edges = [(0, 1), (1, 2), (2, 4), (3, 4)]
    layout = lay_out([40.0] * 5, HEIGHT, edges)
    assert layout.centres[3][1] == layout.centres[2][1]


def test_nothing_and_what_leads_back() -> None:
    assert lay_out([], HEIGHT, []).centres == ()
    with pytest.raises(ValueError, match="leads back"):
        lay_out([1.0, 1.0], HEIGHT, [(1, 0)])
