""".tflite files on ai-edge-litert's interpreter, with XNNPACK as an app would run them."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact import Arrays
from ..errors import MissingExtraError
from ..manifest import GraphSummary
from .base import Port, SessionRequest


class TfliteSession:
    """A file with one signature; inputs and outputs go by the signature's names."""

    def __init__(self, file: str, threads: int) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ModuleNotFoundError:
            raise MissingExtraError("ai-edge-litert", "verify") from None
        self.runtime = f"ai-edge-litert {version('ai-edge-litert')}"
        self._file = file
        self._interpreter = Interpreter(model_path=file, num_threads=threads)
        self._runner = self._interpreter.get_signature_runner()
        self.inputs = _ports(self._runner.get_input_details())
        self.outputs = _ports(self._runner.get_output_details())

    def run(self, inputs: Arrays) -> Arrays:
        results: dict[str, Any] = self._runner(**inputs)
        return results

    def summary(self) -> GraphSummary:
        """Operators by the file itself, partitions by the interpreter's plan after a run."""
        plan = self._interpreter._interpreter  # the public list decodes every tensor's name too
        nodes = [plan.NodeName(i) for i in range(plan.NumNodes())]
        delegates = nodes.count("DELEGATE")
        return GraphSummary(_operators(self._file), "XNNPACK" if delegates else None, delegates)


def open_session(request: SessionRequest) -> TfliteSession:
    return TfliteSession(request.file, request.threads)


def _ports(details: dict[str, Any]) -> tuple[Port, ...]:
    return tuple(
        Port(name, tuple(int(n) for n in d["shape"]), np.dtype(d["dtype"]).name)
        for name, d in details.items()
    )


def _operators(file: str) -> dict[str, int]:
    """Operator names with counts over all subgraphs, from the flatbuffer."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(Path(file).read_bytes())
    builtins = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
    names = []
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # old files have a byte
        custom = code.CustomCode()
        names.append(custom.decode(errors="replace") if custom else builtins[number])
    counts: Counter[str] = Counter()
    for i in range(model.SubgraphsLength()):
        graph = model.Subgraphs(i)
        counts.update(
            names[graph.Operators(j).OpcodeIndex()] for j in range(graph.OperatorsLength())
        )
    return dict(counts.most_common())
