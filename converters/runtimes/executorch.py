""".pte files on executorch's own runtime, with the kernels and backends of its wheel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact import Arrays
from ..errors import MissingExtraError, UnverifiableError
from ..formats import xnnpack
from ..formats.pte import Method, PteProgram, Tensor, read_pte
from ..manifest import GraphSummary
from .base import Port, SessionRequest


class ExecutorchSession:
    """The method `forward` of a file; inputs and outputs take the request's names by position."""

    def __init__(self, request: SessionRequest) -> None:
        runtime = _pybindings()
        self.runtime = f"executorch {version('executorch')}"
        self._program = read_pte(Path(request.file))
        plan = self._program.method()
        self.inputs, self.outputs = ports(plan, request)
        for backend in sorted({delegate.backend for delegate in plan.delegates}):
            if not runtime._is_available(backend):
                raise UnverifiableError(f"{backend} does not run on this machine")
        missing = sorted(plan.outside().keys() - set(runtime._get_operator_names()))
        if missing:
            raise ValueError(f"it has no kernel for {', '.join(missing)}")
        runtime._unsafe_reset_threadpool(request.threads)
        loaded = runtime._load_program(
            request.file,
            enable_etdump=False,
            debug_buffer_size=0,
            program_verification=runtime.Verification.InternalConsistency,
        )
        self._method = loaded.load_method(plan.name)

    def run(self, inputs: Arrays) -> Arrays:
        import torch

        tensors = [torch.from_numpy(np.asarray(inputs[p.name], order="C")) for p in self.inputs]
        results = self._method(tensors)
        names = [port.name for port in self.outputs]
        return {name: result.numpy() for name, result in zip(names, results, strict=True)}

    def summary(self) -> GraphSummary:
        return summary(self._program)


def open_session(request: SessionRequest) -> ExecutorchSession:
    return ExecutorchSession(request)


def _pybindings() -> Any:
    """The runtime's extension module, which needs torch to be loaded before it.

    Not `executorch.runtime`, the public layer above it: that imports the exporter too, which takes
    three seconds in each child.
    """
    try:
        import torch  # noqa: F401
        from executorch.extension.pybindings import _C
    except ModuleNotFoundError as error:
        package = "torch" if error.name == "torch" else "executorch"
        raise MissingExtraError(package, "executorch") from None
    return _C


def ports(method: Method, request: SessionRequest) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """A method's inputs and outputs under the request's names.

    Raises ValueError where their numbers differ, or one is no tensor.
    """
    return (
        _named(method, method.inputs, request.inputs, "input"),
        _named(method, method.outputs, request.outputs, "output"),
    )


def _named(
    method: Method, values: Sequence[int], names: Sequence[str], kind: str
) -> tuple[Port, ...]:
    if len(values) != len(names):
        raise ValueError(f"the file has {len(values)} {kind}s where {len(names)} are named")
    found = []
    for name, index in zip(names, values, strict=True):
        tensor = method.values[index]
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{kind} {name} is no tensor")
        found.append(Port(name, tensor.shape, tensor.dtype))
    return tuple(found)


def summary(program: PteProgram) -> GraphSummary:
    """Operators inside XNNPACK's delegates by its names, those outside by the runtime's."""
    method = program.method()
    outside = method.outside()
    operators: Counter[str] = Counter()
    for delegate in method.delegates:
        if delegate.backend == xnnpack.BACKEND:
            operators.update(node.type for node in xnnpack.read_xnnpack(program, delegate).nodes)
    operators.update(outside)
    backends = sorted({delegate.backend for delegate in method.delegates})
    return GraphSummary(
        dict(operators.most_common()),
        ", ".join(backends) or None,
        len(method.delegates),
        outside,
        sum(method.planned_memory),
    )
