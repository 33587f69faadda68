"""Everything about a saved file that can be said without measuring it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import ArtifactError, UsageError
from .breaks import Break, find_breaks
from .gpu_analyzer import GpuAnalysis, analyze_for_gpu
from .gpu_rules import Refusal, gpu_refusals
from .graph import Graph
from .neural_engine import CAVEAT, Risk, neural_engine_risks


@dataclass(frozen=True)
class Inspection:
    """A file's graph and what follows from it; None where something is not for its format."""

    file: Path
    graph: Graph
    breaks: tuple[Break, ...]
    gpu_refusals: tuple[Refusal, ...] | None
    gpu_analysis: GpuAnalysis | None
    neural_engine: tuple[Risk, ...] | None

    def document(self, largest: int) -> dict[str, Any]:
        """All of it as plain values, with every tensor and the `largest` activations."""
        graph = self.graph
        activations = graph.largest_activations(largest)
        return {
            "file": str(self.file),
            "format": graph.format,
            "notes": graph.notes,
            "operators": graph.operators(),
            "inputs": graph.inputs,
            "outputs": graph.outputs,
            "nodes": [asdict(node) for node in graph.nodes],
            "tensors": [{**asdict(tensor), "bytes": tensor.bytes} for tensor in graph.tensors],
            "partitions": None
            if graph.partitions is None
            else [
                {**asdict(partition), "operators": size}
                for partition, size in zip(graph.partitions, graph.partition_sizes(), strict=True)
            ],
            "outside": graph.outside(),
            "breaks": [asdict(one) for one in self.breaks],
            "ranks": graph.ranks(),
            "weight_bytes": graph.weight_bytes(),
            "planned_memory": graph.planned_memory,
            "largest_activations": [
                {"operator": operator, **asdict(tensor), "bytes": tensor.bytes}
                for tensor, operator in activations
            ],
            "gpu_delegate": None
            if self.gpu_refusals is None
            else {
                "refused": [asdict(one) for one in self.gpu_refusals],
                "analyzer": None if self.gpu_analysis is None else asdict(self.gpu_analysis),
            },
            "neural_engine": None
            if self.neural_engine is None
            else {"caveat": CAVEAT, "risks": [asdict(one) for one in self.neural_engine]},
        }


def inspect_file(file: Path, *, gpu: bool = False) -> Inspection:
    """Reads a .tflite, .pte or .mlpackage, with or without a manifest beside it.

    `gpu` also asks TensorFlow's Analyzer about the GPU delegate, for .tflite files.

    Raises ArtifactError for a file that is missing, damaged or of another kind, MissingExtraError
    where the package is absent that knows the format (or, with `gpu`, TensorFlow), UsageError for
    `gpu` with another format.
    """
    readers: dict[str, Callable[[Path], Graph]] = {
        ".tflite": _read_tflite,
        ".pte": _read_executorch,
        ".mlpackage": _read_coreml,
    }
    suffix = file.suffix.lower()
    if gpu and suffix != ".tflite":
        raise UsageError(f"{file}: the GPU delegate is TFLite's; --gpu is for .tflite files")
    if not file.exists():
        raise ArtifactError(f"{file}: no such file")
    if suffix not in readers:
        known = ", ".join(readers)
        raise ArtifactError(f"{file}: none of the files that can be inspected ({known})")
    graph = readers[suffix](file)
    is_tflite = suffix == ".tflite"
    return Inspection(
        file=file,
        graph=graph,
        breaks=find_breaks(graph),
        gpu_refusals=gpu_refusals(graph) if is_tflite else None,
        gpu_analysis=analyze_for_gpu(file) if gpu else None,
        neural_engine=neural_engine_risks(graph),
    )


def _read_tflite(file: Path) -> Graph:
    from .tflite import read_tflite
    from .xnnpack_plan import with_xnnpack_partitions

    return with_xnnpack_partitions(read_tflite(file), file)


def _read_executorch(file: Path) -> Graph:
    from .executorch import read_executorch

    return read_executorch(file)


def _read_coreml(file: Path) -> Graph:
    from .coreml import read_coreml

    return read_coreml(file)
