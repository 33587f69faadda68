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
from .base import Port


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
        nodes = self._interpreter._get_ops_details()
        delegates = sum(node["op_name"] == "DELEGATE" for node in nodes)
        return GraphSummary(_operators(self._file), "XNNPACK" if delegates else None, delegates)


def open_session(file: str, threads: int) -> TfliteSession:
    return TfliteSession(file, threads)


def _ports(details: dict[str, Any]) -> tuple[Port, ...]:
    return tuple(
        Port(name, tuple(int(n) for n in d["shape"]), np.dtype(d["dtype"]).name)
        for name, d in details.items()
    )


def _operators(file: str) -> dict[str, int]:
    """Operator names with counts over all subgraphs, from the flatbuffer."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(Path(file).read_bytes(), 0)
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
    counts: Counter[str] = Counter()
    for graph in model.subgraphs:
        for op in graph.operators:
            code = model.operatorCodes[op.opcodeIndex]
            builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
            if code.customCode:
                counts[code.customCode.decode()] += 1
            else:
                counts[names[builtin]] += 1
    return dict(counts.most_common())
