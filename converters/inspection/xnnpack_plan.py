"""Which operators of a .tflite file XNNPACK takes, as the interpreter plans it on this host.

The file does not say: the delegate decides when the file is loaded. Its nodes stand behind the
file's own in the interpreter's list, each with the tensors that it reads and writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, RuntimeFailure
from .child import ask
from .graph import Graph, Node, Partition

_TIME_LIMIT_S = 120.0
_DELEGATE_NODE = "DELEGATE"


def with_xnnpack_partitions(graph: Graph, file: Path) -> Graph:
    """The graph with its partitions, or with a note that says why they are not known."""
    main = [node for node in graph.nodes if not node.scope]
    try:
        plan = ask("xnnpack_plan", file, _TIME_LIMIT_S)
        delegates = [(tuple(reads), tuple(writes)) for reads, writes in plan["delegates"]]
        if plan["operators"] != len(main):
            raise RuntimeFailure(f"{file}: the interpreter changes the graph when it loads it")
    except (RuntimeFailure, MissingExtraError) as error:
        return replace(graph, notes=(*graph.notes, f"partitions are not known: {error}"))
    partitions = tuple(Partition("XNNPACK") for _ in delegates)
    graph = graph.with_partitions(partitions, assign(main, delegates))
    if len(main) < len(graph.nodes):
        note = "partitions are shown for the main subgraph only"
        graph = replace(graph, notes=(*graph.notes, note))
    return graph


def assign(
    nodes: Sequence[Node], delegates: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> dict[int, int]:
    """The partition of each node that a delegate runs, by their indices.

    A delegate reads and writes given tensors; it runs whatever lies between them.
    """
    makers = {output: i for i, node in enumerate(nodes) for output in node.outputs}
    found: dict[int, int] = {}
    for number, (reads, writes) in enumerate(delegates):
        border = set(reads)
        wanted = list(writes)
        while wanted:
            maker = makers.get(wanted.pop())
            if maker is None or maker in found:
                continue
            found[maker] = number
            wanted += [tensor for tensor in nodes[maker].inputs if tensor not in border]
    return found


def answer(file: str) -> dict[str, Any]:
    """In the child: how many operators there are, and the tensors of each delegate's node."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        raise MissingExtraError("ai-edge-litert", "verify") from None
    interpreter = Interpreter(model_path=file, num_threads=1)
    interpreter.allocate_tensors()
    plan = interpreter._interpreter  # the public list decodes every tensor's name too
    kinds = [plan.NodeName(i) for i in range(plan.NumNodes())]
    return {
        "operators": len(kinds) - kinds.count(_DELEGATE_NODE),
        "delegates": [
            ([int(n) for n in plan.NodeInputs(i)], [int(n) for n in plan.NodeOutputs(i)])
            for i, kind in enumerate(kinds)
            if kind == _DELEGATE_NODE
        ],
    }
