"""What the tests of the lowering share: programs of modules, and whether they compute the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from converters.lowering.lower import lower
from converters.lowering.program import Program
from converters.rewrite.network import Network
from tests.converters.emit.oracle import run
from tests.converters.rewrite.graphs import captured


class Function(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def lowered(source: nn.Module | Callable[..., Any], *inputs: Tensor) -> Program:
    """The program of a module or a function, after it was seen to compute the same."""
    network = captured(source if isinstance(source, nn.Module) else Function(source), *inputs)
    program = program_of(network)
    assert error(program, network, *inputs) < 1e-6
    return program


def program_of(network: Network) -> Program:
    inputs = [f"x{i}" for i in range(len(network.inputs))]
    return lower(network, inputs, [f"y{i}" for i in range(len(network.outputs))])


def error(program: Program, network: Network, *inputs: Tensor) -> float:
    """The largest difference of any output, relative to its largest magnitude, in float64."""
    arrays = {f"x{i}": x.numpy() for i, x in enumerate(inputs)}
    errors = []
    for got, wanted in zip(run(program, arrays).values(), network.evaluate(*inputs), strict=True):
        assert got.shape == tuple(wanted.shape)
        difference = np.abs(got - wanted.numpy()).max()
        errors.append(difference / max(wanted.abs().max().item(), 1e-30))
    return max(errors)


def kinds(program: Program) -> Counter[str]:
    return Counter(operation.kind for operation in program.operations)


def loud(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in eval mode with random weights, biases and statistics, none of them near 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module.eval()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
