"""What the rewrites that fold affines share, where none of them shows it by itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from converters.rewrite.folding import ONE, ZERO, Affine, fold_into
from tests.converters.rewrite.graphs import captured, same_function


class Square(nn.Module):
    """A product of a matrix with itself, or with what another layer makes."""

    def __init__(self, itself: bool) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.itself = itself

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        return y @ (y if self.itself else self.two(x))


def test_one_reader_that_reads_a_value_twice_bars_a_fold() -> None:
    x = torch.randn(4, 4)
    for itself in (True, False):
        network = captured(Square(itself), x)
        before = network.evaluate(x)
        (product,) = network.calls(torch.ops.aten.matmul.default)
        operand = product.args[0]
        assert isinstance(operand, torch.fx.Node)
        assert fold_into(network, product, operand, Affine(2 * ONE, ZERO)) is not itself
        expected = before if itself else [2 * one for one in before]
        assert same_function(network, expected, (x,))
