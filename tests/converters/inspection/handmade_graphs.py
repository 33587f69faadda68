"""Graphs put together by hand, without a file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from converters.inspection.graph import Graph, Node, Partition, Tensor


def make_graph(
    nodes: Sequence[Node], tensors: Sequence[Tensor], outputs: Sequence[int], **changes: Any
) -> Graph:
    """A graph whose input is its first tensor."""
    fields: dict[str, Any] = {"format": "TFLite", "inputs": (0,), **changes}
    return Graph(nodes=tuple(nodes), tensors=tuple(tensors), outputs=tuple(outputs), **fields)


def tensor(name: str = "t", shape: Sequence[int | None] = (1, 4), **changes: Any) -> Tensor:
    return Tensor(name, changes.pop("dtype", "float32"), tuple(shape), **changes)


def random_graph(seed: int, count: int) -> Graph:
    """A deep graph with branches and residuals; node i writes tensor i + 1."""
    rng = random.Random(seed)
    nodes = []
    for i in range(count):
        reads = {max(0, i - rng.choice((0, 0, 0, 1, 2, 9)))}
        if rng.random() < 0.3:
            reads.add(rng.randint(max(0, i - 40), i))
        partition = rng.choice((None, 0, 1))
        operator = rng.choice(("CONV_2D", "ADD", "DEPTHWISE_CONV_2D"))
        nodes.append(Node(operator, tuple(sorted(reads)), (i + 1,), {"stride": "2"}, partition))
    tensors = [tensor(f"value {i}", (1, 8, 8, 16)) for i in range(count + 1)]
    partitions = (Partition("XNNPACK"), Partition("XNNPACK"))
    return make_graph(nodes, tensors, (count,), partitions=partitions)
