"""A program as the payload of ExecuTorch's XNNPACK delegate: XNNPACK's graph, and its constants.

Constants stand outside of the payload, in the .pte's named data, under the SHA-256 of their bytes,
as the official route has them: equal ones once, and the runtime may drop them when it has packed
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..lowering.program import Program, Tensor
from .xnnpack_graph import Graph, check
from .xnnpack_nodes import translate


@dataclass(frozen=True)
class Payload:
    """`data` for the delegate, whose call takes `inputs`, then the program's outputs in order.

    `inputs` are those of the program that something reads. `constants` are bytes, by name.
    """

    data: bytes
    constants: Mapping[str, memoryview]
    inputs: tuple[Tensor, ...]


def serialise(program: Program) -> Payload:
    """Raises NotCovered where XNNPACK's delegate cannot do what the program says."""
    for tensor in program.inputs:
        check(tensor)  # those that nothing reads as well
    outputs = tuple(program.outputs.values())
    read = {tensor for operation in program.operations for tensor in operation.inputs}
    inputs = tuple(tensor for tensor in program.inputs if tensor in read.union(outputs))
    graph = Graph(inputs, outputs)
    for number, operation in enumerate(program.operations, start=1):
        graph.debug_handle = number
        translate(operation, graph)
    return Payload(graph.finish(), graph.constants, inputs)
