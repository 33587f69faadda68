"""Where a network's time goes, by operation, on one thread.

    python -m benchmarks.operators [--models NAME ...] [--targets tflite executorch]

TFLite: every distinct operation (kind, shapes, attributes) of the program that the direct emitter
writes becomes a file of its own; its time counts as often as the network has it. The operands are
warm in the caches, which a network's seldom are: the sum is a lower bound for the network, and its
share of the matrix product's rate an upper one. ExecuTorch: the whole network, by XNNPACK's own
profile; operations have XNNPACK's names.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import report
from benchmarks.process import in_fresh_process
from converters import vendor_output
from converters.emit import pte, tflite
from converters.lowering.lower import lower
from converters.lowering.program import Operation, Program, Tensor
from converters.rewrite import rewrite
from converters.rewrite.canonical import canonicalise
from converters.rewrite.capture import capture
from mobilevit_kit.models import create_model, list_models, model_card

MODELS = ("mobilevit_xs", "mobilenetv4_hybrid_medium", "edgenext_xx_small", "efficientvit_m3")
TARGETS = ("tflite", "executorch")
TOOLS = ("torch", "ai-edge-litert", "executorch")
RUNS = 15
METHOD = "ms of all operations of a kind, one thread; TFLite: each alone, ExecuTorch: its profile"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=list_models())
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for model, target in itertools.product(options.models, options.targets):
        print(model, target, file=sys.stderr)
        rows += in_fresh_process(_rows, model, target)
        report.write("operators", METHOD, TOOLS, rows)
    report.show(METHOD, rows)


def _rows(model: str, target: str) -> list[dict[str, Any]]:
    """A row for each kind of operation, the slowest first."""
    program = program_of(model, target)
    flops: dict[str, float] = defaultdict(float)
    for one in program.operations:
        flops[label(one, target)] += 2 * macs(one)
    with vendor_output.silenced():
        found = _each_alone(program) if target == "tflite" else _profile(program)
    total = sum(ms for _, ms in found.values())
    return [
        {
            "model": model,
            "target": target,
            "operation": kind,
            "count": count,
            "ms": round(ms, 3),
            "share": f"{ms / total:.1%}",
            "gflops": round(flops[kind] / ms / 1e6, 1) if flops.get(kind) else "-",
        }
        for kind, (count, ms) in sorted(found.items(), key=lambda item: -item[1][1])
    ]


# XNNPACK's names of what has a rate. Kernels of one pixel are matrix products.
_GEMM = "Fully Connected (NC, F32) GEMM"
_NAMES = {
    "conv2d 1x1": _GEMM,
    "fully_connected": _GEMM,
    "conv2d": "Convolution (NHWC, F32) IGEMM",
    "depthwise_conv2d": "Convolution (NHWC, F32) DWConv",
    "batch_matmul": "Batch Matrix Multiply (NC, F32) GEMM",
}


def label(operation: Operation, target: str) -> str:
    """What an operation is counted to."""
    kind = operation.kind
    if kind == "conv2d" and operation.inputs[1].shape[1:3] == (1, 1):
        kind = "conv2d 1x1"
    return kind if target == "tflite" else _NAMES.get(kind, kind)


def _profile(program: Program) -> dict[str, tuple[int, float]]:
    """How many operations of each of XNNPACK's kinds a run has, and their ms."""
    from executorch.devtools import Inspector
    from executorch.extension.pybindings import _C

    generator = np.random.default_rng(0)
    given = [
        torch.from_numpy(generator.standard_normal(one.shape, np.float32)) for one in program.inputs
    ]
    with tempfile.TemporaryDirectory() as folder:
        file, dump = Path(folder, "program.pte"), Path(folder, "times.etdp")
        file.write_bytes(pte.emit(program))
        _C._unsafe_reset_threadpool(1)
        loaded = _C._load_for_executorch(str(file), enable_etdump=True)
        for _ in range(3 + RUNS):
            loaded.forward(given)
        loaded.write_etdump_result_to_file(str(dump), "")
        blocks = Inspector(etdump_path=str(dump)).event_blocks
    found: dict[str, tuple[int, float]] = {}
    for event in (event for block in blocks for event in block.events):
        if event.perf_data is None or not event.is_delegated_op:
            continue
        kind = event.name.partition(" #")[0]
        count, ms = found.get(kind, (0, 0.0))
        found[kind] = count + 1, ms + event.perf_data.p50
    return found


def _each_alone(program: Program) -> dict[str, tuple[int, float]]:
    """How many operations of each kind a run has, and their ms."""
    distinct: dict[Any, list[Operation]] = defaultdict(list)
    for one in program.operations:
        shapes = tuple(tensor.shape for tensor in one.inputs)
        attributes = repr(sorted(one.attributes.items()))
        distinct[one.kind, shapes, one.output.shape, attributes].append(one)
    found: dict[str, tuple[int, float]] = {}
    for alike in distinct.values():
        kind = label(alike[0], "tflite")
        count, ms = found.get(kind, (0, 0.0))
        found[kind] = count + len(alike), ms + len(alike) * milliseconds(alike[0])
    return found


def program_of(model: str, target: str) -> Program:
    torch.manual_seed(0)
    network = create_model(model).eval()
    height, width = model_card(model).input_size
    with torch.no_grad():
        exported = torch.export.export(network, (torch.randn(1, 3, height, width),))
    captured = capture(exported)
    canonicalise(captured)
    rewrite(captured, target)
    return lower(captured, ["image"], ["output"])


def milliseconds(operation: Operation) -> float:
    """The median time of an operation in a .tflite file of its own."""
    from ai_edge_litert.interpreter import Interpreter

    operands = tuple(
        Tensor(f"input_{i}", one.shape, one.dtype) if one.data is None else one
        for i, one in enumerate(operation.inputs)
    )
    output = Tensor("output", operation.output.shape, operation.output.dtype)
    alone = Operation(operation.kind, operands, output, operation.attributes)
    inputs = [one for one in operands if one.data is None]
    content = tflite.emit(Program(inputs, {"output": output}, [alone]))
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    generator = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(
            detail["index"], generator.standard_normal(detail["shape"]).astype(np.float32)
        )
    times = []
    for _ in range(3 + RUNS):
        started = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times[3:])


def macs(operation: Operation) -> int:
    """Multiply-accumulates of a product; 0 for anything else."""
    shapes: Sequence[tuple[int, ...]] = [one.shape for one in operation.inputs]
    made = math.prod(operation.output.shape)
    if operation.kind in ("conv2d", "fully_connected"):
        return made * math.prod(shapes[1][1:])
    if operation.kind == "depthwise_conv2d":
        return made * math.prod(shapes[1][1:3])
    return made * shapes[0][-1] if operation.kind == "batch_matmul" else 0


if __name__ == "__main__":
    main()
