"""TensorFlow's Analyzer on a .tflite file and the GPU delegate, and whether its word is worth it.

Releases since 2.19 have the check taken out and call every file compatible (tensorflow issue
77042). So the Analyzer is first asked about a file that no GPU delegate takes.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, one_line
from .child import ask

_TIME_LIMIT_S = 180.0  # TensorFlow alone takes seconds to import
_WARNING = "GPU COMPATIBILITY WARNING: "


@dataclass(frozen=True)
class GpuAnalysis:
    """What the Analyzer said; `compatible` is None where it would have said so of any file."""

    analyzer: str  # name and version
    compatible: bool | None
    warnings: tuple[str, ...]


def analyze_for_gpu(file: Path) -> GpuAnalysis:
    """Asks the Analyzer, in a child process.

    Raises MissingExtraError without tensorflow, RuntimeFailure where the Analyzer fails.
    """
    document = ask("gpu_analyzer", file, _TIME_LIMIT_S)
    warnings = tuple(dict.fromkeys(one_line(text) for text in document["warnings"]))
    return GpuAnalysis(
        analyzer=f"TensorFlow {one_line(document['version'], 40)}'s Analyzer",
        compatible=None if document["blind"] else not warnings,
        warnings=warnings,
    )


def answer(file: str) -> dict[str, Any]:
    """In the child: the Analyzer's warnings, and whether it has any for a hopeless file."""
    try:
        import tensorflow as tf
    except ModuleNotFoundError:
        raise MissingExtraError("tensorflow", "tensorflow") from None
    with tempfile.TemporaryDirectory(prefix="mvkit-gpu-") as folder:
        hopeless = Path(folder, "hopeless.tflite")
        hopeless.write_bytes(_hopeless())
        blind = not _warnings(tf, str(hopeless))
    return {"version": tf.__version__, "blind": blind, "warnings": _warnings(tf, file)}


def _warnings(tf: Any, file: str) -> list[str]:
    with contextlib.redirect_stdout(io.StringIO()) as text:  # it only prints
        tf.lite.experimental.Analyzer.analyze(model_path=file, gpu_compatibility=True)
    lines = text.getvalue().splitlines()
    return [line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING)]


def _hopeless() -> bytes:
    """A file of one operator, HASHTABLE, which makes a resource: no GPU has such a thing."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    table, operator, code = schema.TensorT(), schema.OperatorT(), schema.OperatorCodeT()
    table.shape, table.type, table.name = [1], schema.TensorType.RESOURCE, "table"
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.HASHTABLE, 127
    operator.inputs, operator.outputs = [], [0]
    operator.builtinOptionsType = schema.BuiltinOptions.HashtableOptions
    operator.builtinOptions = schema.HashtableOptionsT()
    model, graph = schema.ModelT(), schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [table], [operator], [], [0]
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
