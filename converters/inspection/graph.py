"""A saved file's graph as plain data: one form for all formats, and what can be counted in it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

MIB = 2**20
_BITS = {
    "float64": 64, "float32": 32, "float16": 16, "bfloat16": 16,
    "int64": 64, "int32": 32, "int16": 16, "int8": 8, "int4": 4, "int2": 2,
    "uint64": 64, "uint32": 32, "uint16": 16, "uint8": 8, "uint6": 6, "uint4": 4, "uint3": 3,
    "uint2": 2, "uint1": 1, "bool": 8, "complex64": 64, "complex128": 128,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A value that operators read or make.

    An axis of None is known only when the file runs; so is the rank where `shape` is None.
    """

    name: str
    dtype: str  # NumPy's name where it has one
    shape: tuple[int | None, ...] | None
    constant: bool = False
    stored: int | None = None  # bytes in the file, of a constant
    shared_with: int | None = None  # the first tensor with the same bytes in the file

    @property
    def bytes(self) -> int | None:
        """Bytes when the file runs: None where an axis or the type's size is not known."""
        if self.shape is None or self.dtype not in _BITS:
            return None
        count = 1
        for axis in self.shape:
            if axis is None:
                return None
            count *= axis
        return math.ceil(count * _BITS[self.dtype] / 8)

    def describe(self) -> str:
        """Type and shape for people: `float32 1x3x?x64`."""
        if self.shape is None:
            return f"{self.dtype} of unknown rank"
        axes = "x".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.dtype} {axes}" if axes else f"{self.dtype} scalar"


@dataclass(frozen=True)
class Node:
    """One operator of the file; tensors are indices into `Graph.tensors`."""

    operator: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)
    partition: int | None = None  # index into `Graph.partitions`; None: outside all of them
    scope: str = ""  # the subgraph, block or method; empty for the main one


@dataclass(frozen=True)
class Partition:
    """A piece of the graph that a delegate runs as one."""

    delegate: str
    note: str = ""  # why its operators are not shown, where they are not


@dataclass(frozen=True)
class Graph:
    """The operators of a file in the order in which they stand there.

    `partitions` is None where the format has none, or where they could not be found out: `notes`
    then says why.
    """

    format: str  # "TFLite", "CoreML" or "ExecuTorch"
    nodes: tuple[Node, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    partitions: tuple[Partition, ...] | None = None
    planned_memory: int | None = None  # bytes that the file reserves for activations
    notes: tuple[str, ...] = ()

    def operators(self) -> dict[str, int]:
        """Counts by operator, the most frequent first."""
        return dict(Counter(node.operator for node in self.nodes).most_common())

    def outside(self) -> dict[str, int]:
        """Counts of the operators of the main graph that no partition holds."""
        if self.partitions is None:
            return {}
        lone = (n.operator for n in self.nodes if n.partition is None and not n.scope)
        return dict(Counter(lone).most_common())

    def partition_sizes(self) -> tuple[int, ...]:
        """Operators in each partition; 0 where what it holds is not shown."""
        counts = Counter(node.partition for node in self.nodes)
        return tuple(counts[i] for i in range(len(self.partitions or ())))

    def ranks(self) -> dict[int, int]:
        """Counts of the tensors that are no constants, by their number of axes."""
        found = (t.shape for t in self.tensors if not t.constant)
        counts = Counter(len(shape) for shape in found if shape is not None)
        return dict(sorted(counts.items()))

    def weight_bytes(self) -> dict[str, int]:
        """Bytes of the constants in the file by type; what tensors share is counted once."""
        totals: Counter[str] = Counter()
        for tensor in self.tensors:
            if tensor.constant and tensor.shared_with is None:
                size = tensor.bytes if tensor.stored is None else tensor.stored
                totals[tensor.dtype] += size or 0
        return dict(totals.most_common())

    def largest_activations(self, count: int) -> list[tuple[Tensor, str]]:
        """The largest tensors that operators make, each with the operator that makes it."""
        made = [
            (self.tensors[output], node.operator)
            for node in self.nodes
            for output in node.outputs
            if self.tensors[output].bytes is not None
        ]
        made.sort(key=lambda pair: -(pair[0].bytes or 0))
        return made[:count]

    def with_partitions(
        self, partitions: tuple[Partition, ...], of_node: Mapping[int, int]
    ) -> Graph:
        """The same graph with its nodes assigned to partitions: `of_node` by a node's index."""
        nodes = tuple(replace(node, partition=of_node.get(i)) for i, node in enumerate(self.nodes))
        return replace(self, nodes=nodes, partitions=partitions)
