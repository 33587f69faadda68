from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters.lowering.lower import lower
from converters.lowering.program import NotCovered, Program
from tests.converters.lowering.lowered import Function, kinds, loud, lowered, normal
from tests.converters.rewrite.graphs import captured


def test_inputs_and_outputs_lie_as_the_network_has_them() -> None:
    network = captured(loud(nn.Conv2d(3, 4, 3)), normal(2, 3, 5, 6))
    program = lower(network, ["image"], ["map"])
    assert [(one.name, one.shape) for one in program.inputs] == [("image", (2, 3, 5, 6))]
    assert {name: one.shape for name, one in program.outputs.items()} == {"map": (2, 4, 3, 4)}


def test_an_output_may_be_an_input() -> None:
    program = lowered(lambda x: (x, x + 1, x.transpose(0, 1)), normal(2, 3))
    first, _, third = program.outputs.values()
    assert first is program.inputs[0]
    assert third.shape == (3, 2)
    assert kinds(program) == {"add": 1, "transpose": 1}


def test_an_output_may_be_given_twice() -> None:
    program = lowered(lambda x: (y := x.exp(), y * 2, y), normal(2, 3))
    first, _, third = program.outputs.values()
    assert first is third


def test_an_output_may_be_a_constant() -> None:
    program = lowered(lambda x: (x.exp(), torch.arange(6.0).reshape(2, 3).T), normal(2, 3))
    constant = program.outputs["y1"]
    assert np.array_equal(constant.data, np.arange(6.0).reshape(2, 3).T)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3,)])
def test_values_with_few_numbers(shape: tuple[int, ...]) -> None:
    lowered(lambda x: (x + 1, x.exp().reshape(-1)), normal(*shape))


def test_an_input_that_nobody_reads() -> None:
    program = lowered(lambda x, y: x.exp(), normal(2, 3), normal(4))
    assert len(program.inputs) == 2


def test_what_depends_on_constants_alone_is_computed_at_conversion() -> None:
    table = torch.randn(9, 3)
    index = torch.arange(9).reshape(3, 3).T

    def biased(x: Tensor) -> Tensor:
        bias = table[index.flatten()].reshape(3, 3, 3).permute(2, 0, 1).contiguous()
        positions = torch.arange(3, dtype=torch.float32) / 2
        return x + bias.unsqueeze(0) + positions.sin()

    assert kinds(lowered(biased, normal(2, 3, 3, 3))) == {"add": 2}


def test_constants_are_folded_in_double_precision() -> None:
    third = torch.tensor(1 / 3)

    def function(x: Tensor) -> Tensor:
        return x * (third * 3 - 1 + 1e-9)

    program = lowered(function, normal(4))
    factor = program.operations[0].inputs[1].data
    exact = np.float32(float(third) * 3 - 1 + 1e-9)
    assert factor == exact != 0


def test_an_expanded_constant_stays_small() -> None:
    mask = torch.randn(1, 1, 50, 50)
    program = lowered(lambda x: x + mask.expand(2, 4, 50, 50), normal(2, 4, 50, 50))
    assert max(tensor.data.size for tensor in program.constants()) == 2500  # type: ignore[union-attr]


def test_equal_operations_are_one() -> None:
    norm = loud(nn.LayerNorm(6))
    program = lowered(lambda x: norm(x) * norm(x).sigmoid(), normal(2, 4, 6))
    assert kinds(program)["rsqrt"] == 1


def test_operations_that_differ_in_an_attribute_are_not() -> None:
    program = lowered(lambda x: x.clamp(0, 1) + x.clamp(0, 2), normal(4))
    assert kinds(program)["clamp"] == 2


def test_names_are_unique_and_modules_are_told() -> None:
    network = nn.Sequential(
        nn.Linear(3, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 3)), nn.Sigmoid()
    )
    program = lowered(loud(network), normal(2, 3))
    assert [one.module for one in program.operations] == ["0", "1.1", "2"]
    assert program.operations[0].output.name == "1.0/clamp"  # the activation's, fused
    tensors = [one.output for one in program.operations] + list(program.constants())
    assert len({tensor.name for tensor in tensors}) == len(tensors)


def test_dead_ends_are_left_out() -> None:
    network = captured(Function(lambda x: (x.exp(), x.sin())), normal(2))
    network.graph.output_node().args = ((network.outputs[0],),)
    assert kinds(lower(network, ["x"], ["y"])) == {"exp": 1}


def _int_output(x: Tensor) -> Any:
    return x.exp(), torch.arange(3)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_int_output, "values of type int64"),
        (lambda x: (x.exp(), torch.zeros(3, dtype=torch.uint8)), "values of type uint8"),
        (lambda x: x.argmax(1), "no rule for aten.argmax.default"),
        (lambda x: x.sort(1).values, "no rule for aten.sort"),
        (lambda x: x.double().exp().float(), "values of type float64"),
    ],
)
def test_not_covered(function: Callable[[Tensor], Any], reason: str) -> None:
    with pytest.raises(NotCovered, match=reason):
        lowered(function, normal(2, 3))


def test_random_numbers_are_no_constants() -> None:
    with pytest.raises(NotCovered, match=r"no rule for aten\.rand"):
        _program(lambda x: x + torch.rand(2, 3))


def _program(function: Callable[[Tensor], Tensor]) -> Program:
    return lower(captured(Function(function), normal(2, 3)), ["x"], ["y"])
