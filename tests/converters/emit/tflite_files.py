"""Emitted .tflite files in tests: run, read, and planned by XNNPACK's delegate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from converters.inspection.tflite import read_tflite
from converters.inspection.xnnpack_plan import answer, assign
from tests.converters.emit.oracle import Array


def interpret(file: bytes, inputs: Mapping[str, Array], **options: Any) -> dict[str, Array]:
    runner = Interpreter(model_content=file, num_threads=1, **options).get_signature_runner()
    results: dict[str, Array] = runner(**inputs)
    return results


def assert_close(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        finite = value[np.isfinite(value)]
        scale = np.abs(finite).max(initial=0) or 1
        assert found[name].shape == value.shape
        np.testing.assert_allclose(found[name] / scale, value / scale, rtol=0, atol=1e-5)


def outside(file: bytes, folder: Path) -> list[str]:
    """The operators that XNNPACK leaves to the interpreter; there must be one partition."""
    path = folder / "file.tflite"
    path.write_bytes(file)
    nodes, delegates = read_tflite(path).nodes, answer(str(path))["delegates"]
    inside = assign(nodes, delegates)
    left = [node.operator for i, node in enumerate(nodes) if i not in inside]
    assert left or len(delegates) == 1
    return left


def read(file: bytes) -> Any:
    """The model in the schema's object form."""
    return schema.ModelT.InitFromPackedBuf(file)


def operators(file: bytes) -> Counter[tuple[str, int]]:
    """Operators with their versions, by how often they stand in the file."""
    model = read(file)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    codes = [(names[code.builtinCode], code.version) for code in model.operatorCodes]
    return Counter(codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators)
