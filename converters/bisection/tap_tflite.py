"""The values of a .tflite file, from LiteRT's interpreter with its own kernels.

XNNPACK takes whole partitions and keeps what is inside to itself, so it is left out: what only a
delegate's kernels get wrong does not show here.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from ..artifact import Arrays
from ..errors import MissingExtraError
from ..runtimes.base import SessionRequest
from .taps import FileOperator, FileTrace


def trace(request: SessionRequest, inputs: Arrays) -> FileTrace:
    """Runs the file's only signature; tensors go by their index in the file."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ModuleNotFoundError:
        raise MissingExtraError("ai-edge-litert", "verify") from None
    interpreter = Interpreter(
        model_path=request.file,
        num_threads=request.threads,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    runner = interpreter.get_signature_runner()
    ports_in, ports_out = runner.get_input_details(), runner.get_output_details()
    runner(**inputs)

    details = interpreter._get_ops_details()
    computed = {int(i) for one in details for i in one["outputs"]}
    given = {int(port["index"]) for port in ports_in.values()}
    operators = tuple(
        FileOperator(
            one["op_name"],
            tuple(str(i) for i in map(int, one["inputs"]) if i in computed | given),
            tuple(str(int(i)) for i in one["outputs"]),
        )
        for one in details
    )
    names = {int(one["index"]): one["name"] for one in interpreter.get_tensor_details()}
    shown = [i for i in sorted(computed | given) if _has_value(interpreter, i)]
    return FileTrace(
        runtime=f"ai-edge-litert {version('ai-edge-litert')}, its own kernels without XNNPACK",
        operators=operators,
        values={str(i): interpreter.get_tensor(i) for i in shown},
        names={str(i): names.get(i, "") for i in shown},
        inputs=_keys(ports_in),
        outputs=_keys(ports_out),
    )


def _has_value(interpreter: Any, index: int) -> bool:
    """Whether a tensor has numbers to show; what a branch not taken would give has none."""
    try:
        return interpreter.get_tensor(index).dtype.kind in "fiub"
    except ValueError:
        return False


def _keys(ports: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(int(port["index"])) for name, port in ports.items()}
