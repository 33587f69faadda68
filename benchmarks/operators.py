"""Where a network's time goes: each operation of its program, timed alone.

    python -m benchmarks.operators [--models NAME ...] [--top 12]

Every distinct operation (kind, shapes, attributes) of the program that the direct emitters write
becomes a .tflite file of its own, which one thread runs through XNNPACK; its time counts as often
as the network has it. The operands are warm in the caches, which a network's seldom are: the sum is
a lower bound for the network, and its share of the matrix product's rate an upper one.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import report
from benchmarks.process import in_fresh_process
from converters.emit import tflite
from converters.lowering.lower import lower
from converters.lowering.program import Operation, Program, Tensor
from converters.rewrite import rewrite
from converters.rewrite.canonical import canonicalise
from converters.rewrite.capture import capture
from mobilevit_kit.models import create_model, list_models, model_card

MODELS = ("mobilevit_xs", "mobilenetv4_hybrid_medium", "edgenext_xx_small", "efficientvit_m3")
TOOLS = ("torch", "ai-edge-litert")
RUNS = 15
METHOD = "operations of the TFLite program, each alone on one thread; ms of all of a kind"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=list_models())
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for model in options.models:
        print(model, file=sys.stderr)
        rows += in_fresh_process(_kinds, model)
        report.write("operators", METHOD, TOOLS, rows)
    report.show(METHOD, rows)


def _kinds(model: str) -> list[dict[str, Any]]:
    """A row for each kind of operation, the slowest first."""
    program = program_of(model)
    distinct: dict[Any, list[Operation]] = defaultdict(list)
    for one in program.operations:
        shapes = tuple(tensor.shape for tensor in one.inputs)
        attributes = repr(sorted(one.attributes.items()))
        distinct[one.kind, shapes, one.output.shape, attributes].append(one)
    ms: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    flops: dict[str, float] = defaultdict(float)
    for alike in distinct.values():
        first = alike[0]
        ms[first.kind] += len(alike) * milliseconds(first)
        count[first.kind] += len(alike)
        flops[first.kind] += 2 * len(alike) * macs(first)
    total = sum(ms.values())
    return [
        {
            "model": model,
            "operation": kind,
            "count": count[kind],
            "ms": round(ms[kind], 3),
            "share": f"{ms[kind] / total:.1%}",
            "gflops": round(flops[kind] / ms[kind] / 1e6, 1) if flops[kind] else "-",
        }
        for kind in sorted(ms, key=lambda kind: -ms[kind])
    ]


def program_of(model: str) -> Program:
    torch.manual_seed(0)
    network = create_model(model).eval()
    height, width = model_card(model).input_size
    with torch.no_grad():
        exported = torch.export.export(network, (torch.randn(1, 3, height, width),))
    captured = capture(exported)
    canonicalise(captured)
    rewrite(captured, "tflite")
    return lower(captured, ["image"], ["output"])


def milliseconds(operation: Operation) -> float:
    """The median time of an operation in a file of its own, less that of an empty call."""
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
