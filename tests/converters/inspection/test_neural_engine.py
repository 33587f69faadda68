"""Risks for the Neural Engine: each kind of statement, and none that is not asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from converters.inspection.coreml import read_coreml
from converters.inspection.graph import Graph, Node, Partition
from converters.inspection.neural_engine import CAVEAT, Risk, neural_engine_risks
from tests.converters.inspection.handmade_graphs import make_graph, tensor


def risks_of(
    operator: str, shape: tuple[int | None, ...] = (1, 64, 1, 32), **changes: str
) -> dict[str, Risk]:
    """What is said of one operator whose result has this shape, in float16 if not told."""
    dtype = changes.pop("dtype", "float16")
    nodes = [Node(operator, (0,), (1,), changes)]
    tensors = [tensor(), tensor("result", shape, dtype=dtype)]
    found = neural_engine_risks(make_graph(nodes, tensors, (1,), format="CoreML"))
    assert found is not None
    return {risk.what: risk for risk in found}


def test_nothing_speaks_against_a_convolution_in_float16() -> None:
    assert risks_of("conv", dilations="[1, 1]") == {}


@pytest.mark.parametrize(
    ("risks", "kind", "what"),
    [
        (risks_of("conv", dtype="float32"), "hard fact", "operators typed float32"),
        (risks_of("add", (1, 2, 2, 2, 2, 32)), "hard fact", "tensors of rank above 5"),
        (risks_of("add", (1, None, 1, 32)), "guidance", "tensors whose sizes are known when it "
                                                        "runs"),
        (risks_of("linear"), "guidance", "linear layers"),
        (risks_of("matmul"), "guidance", "matrix products"),
        (risks_of("transpose"), "guidance", "reshapes and transposes"),
        (risks_of("add", (1, 64, 8)), "guidance", "tensors whose last axis takes less than 64 "
                                                  "bytes"),
        (risks_of("gru"), "community", "recurrent layers and gathers"),
        (risks_of("conv", dilations="[2, 2]"), "community", "dilated convolutions"),
    ],
)  # fmt: skip
def test_each_statement(risks: dict[str, Risk], kind: str, what: str) -> None:
    (risk,) = risks.values()
    assert (risk.kind, risk.what, risk.count, risk.example) == (kind, what, 1, "result")
    assert risk.source


def test_padding_of_the_last_axis() -> None:
    """Rows of 8 halves are 16 bytes of 64; of 40 halves 80 of 128."""
    (risk,) = risks_of("add", (1, 64, 8)).values()
    assert "4.0 times" in risk.why
    nodes = [Node("add", (0,), (1,)), Node("add", (1,), (2,))]
    tensors = [tensor(), *(tensor("a", shape, dtype="float16") for shape in ((2, 8), (3, 40)))]
    (risk,) = neural_engine_risks(make_graph(nodes, tensors, (2,), format="CoreML")) or ()
    assert f"{(2 * 64 + 3 * 128) / (2 * 16 + 3 * 80):.1f} times" in risk.why and risk.count == 1


def test_a_cast_may_speak_float32() -> None:
    assert risks_of("cast", dtype="float32") == {}


def test_only_parts_that_are_coremls_are_judged() -> None:
    nodes = [Node("linear", (0,), (1,), partition=0), Node("linear", (1,), (2,))]
    parts = (Partition("CoreMLBackend"),)

    def graph(format_: str, partitions: tuple[Partition, ...]) -> Graph:
        tensors = [tensor(dtype="float16", shape=(1, 32))] * 3
        return make_graph(nodes, tensors, (2,), format=format_, partitions=partitions)

    (risk,) = neural_engine_risks(graph("ExecuTorch", parts)) or ()
    assert risk.count == 1
    assert neural_engine_risks(graph("ExecuTorch", (Partition("XnnpackBackend"),))) is None
    assert neural_engine_risks(graph("TFLite", (Partition("XNNPACK"),))) is None


def test_placement_is_never_claimed() -> None:
    assert CAVEAT.startswith("risk, not placement")


@pytest.mark.slow
def test_a_real_package_in_both_precisions(classifier: Callable[[str], Path]) -> None:
    hard = {
        form: sum(
            risk.count
            for risk in neural_engine_risks(read_coreml(classifier(form))) or ()
            if risk.kind == "hard fact"
        )
        for form in ("fp32", "fp16")
    }
    assert hard == {"fp32": 4, "fp16": 0}
