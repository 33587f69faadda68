"""What is counted in a graph."""

from __future__ import annotations

import pytest

from converters.inspection.graph import Node, Partition
from tests.converters.inspection.handmade_graphs import make_graph, tensor


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("float32", (2, 3), 24),
        ("float16", (2, 3), 12),
        ("int4", (3, 3), 5),  # 36 bits
        ("bool", (), 1),
        ("float32", (0, 3), 0),
        ("float32", (1, None), None),
        ("resource", (1,), None),
    ],
)
def test_bytes(dtype: str, shape: tuple[int | None, ...], size: int | None) -> None:
    assert tensor(dtype=dtype, shape=shape).bytes == size


def test_descriptions() -> None:
    assert tensor(shape=(1, 3, None, 64)).describe() == "float32 1x3x?x64"
    assert tensor(shape=(), dtype="int32").describe() == "int32 scalar"


def test_shared_weights_count_once() -> None:
    tensors = [
        tensor("x"),
        tensor("w", (4, 4), constant=True, stored=64),
        tensor("same", (4, 4), constant=True, stored=64, shared_with=1),
        tensor("i", (2,), dtype="int32", constant=True),
    ]
    assert make_graph([], tensors, ()).weight_bytes() == {"float32": 64, "int32": 8}


def test_partitions() -> None:
    nodes = [Node("A", (0,), (1,)), Node("B", (1,), (2,)), Node("A", (2,), (3,))]
    inner = Node("C", (), (), scope="branch")
    graph = make_graph([*nodes, inner], [tensor()] * 4, (3,))
    assert graph.outside() == {} and graph.partition_sizes() == ()
    graph = graph.with_partitions((Partition("X"), Partition("X")), {0: 1, 2: 1})
    assert graph.outside() == {"B": 1}  # the branch is not judged
    assert graph.partition_sizes() == (0, 2)
    assert graph.operators() == {"A": 2, "B": 1, "C": 1}


def test_largest_activations_and_ranks() -> None:
    tensors = [tensor("x"), tensor("y", (8, 8)), tensor("z", (2, 2, 2)), tensor("?", (None,))]
    nodes = [Node("A", (0,), (1,)), Node("B", (1,), (2, 3))]
    graph = make_graph(nodes, tensors, (3,))
    found = [(one.name, operator) for one, operator in graph.largest_activations(5)]
    assert found == [("y", "A"), ("z", "B")]
    assert graph.ranks() == {1: 1, 2: 2, 3: 1}
