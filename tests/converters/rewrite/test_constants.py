"""What depends on no input is a constant, and numbers in a row are one."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from converters.rewrite import constants
from converters.rewrite.network import Network
from tests.converters.rewrite.graphs import captured, counts, relative_error, same_function
from tests.converters.rewrite.modules import Function

aten = torch.ops.aten
X = torch.randn(2, 6, 4, 8, generator=torch.Generator().manual_seed(1))


def folded(function: Callable[..., Tensor], *inputs: Tensor, **held: Tensor) -> Network:
    """A function's network after the rewrite, which kept what it computes and has an end."""
    network = captured(Function(function, **held), *inputs)
    before = network.evaluate(*inputs)
    constants.apply(network)
    assert same_function(network, before, inputs)
    assert constants.apply(network) == 0
    return network


def one_constant(network: Network) -> Tensor:
    (node,) = network.graph.find_nodes(op="get_attr")
    value = network.value(node)
    assert value is not None
    return value


def test_a_positional_encoding_is_one_constant() -> None:
    def encoded(x: Tensor) -> Tensor:
        y = torch.arange(4, dtype=torch.float32)[:, None].expand(4, 8)
        grid = torch.stack([y, torch.arange(8)[None].expand(4, 8)], -1) / 7 * math.pi
        return x + torch.cat([grid.sin(), grid.cos(), grid[..., :2] * 0], -1).permute(2, 0, 1)

    network = folded(encoded, X)
    assert counts(network) == {"add": 1}
    rows = torch.arange(4, dtype=torch.float64) / 7 * math.pi
    value = one_constant(network)
    assert value.shape == (6, 4, 8)
    assert torch.equal(value[0], rows.sin()[:, None].expand(4, 8))  # in double precision


def test_a_bias_table_behind_its_index_is_one_constant() -> None:
    places = torch.arange(32).flip(0) % 9
    network = folded(lambda x, t, i: x + t[:, i].view(1, 6, 4, 8), X, t=torch.randn(6, 9), i=places)
    assert counts(network) == {"add": 1}
    assert one_constant(network).shape == (1, 6, 4, 8)


def test_constants_keep_their_type() -> None:
    index = folded(lambda x, i: x.flatten(1)[:, i * 2 + 1], X, i=torch.tensor([3, 50]))
    node = index.calls(aten.index.Tensor)[0].args[1][1]  # type: ignore[index]
    assert index.value(node).dtype == node.meta["val"].dtype == torch.int64  # type: ignore[union-attr]
    half = folded(lambda x, c: x + (c * 3).half(), X, c=torch.tensor([1 / 3]))
    (node,) = half.graph.find_nodes(op="get_attr")
    assert half.rounded(node).dtype == torch.float16 and half.value(node).dtype == torch.float64  # type: ignore[union-attr]


def test_a_step_falls_as_in_the_source() -> None:
    tenth = torch.tensor([0.1])  # 0.1f * 10 rounds to 1; the double that equals 0.1f gives more

    def stepped(x: Tensor, tenth: Tensor) -> Tensor:
        return x + (tenth * 10).ceil() + ((tenth * 10) > 1)

    network = captured(Function(stepped, tenth=tenth), X)
    constants.apply(network)
    assert counts(network) == {"add": 1}
    assert torch.equal(one_constant(network), torch.tensor([1.0], dtype=torch.float64))
    assert network.evaluate(X)[0].sub(X.double() + 1).abs().max() < 1e-15


def test_random_numbers_stay_random() -> None:
    network = captured(Function(lambda x: x + torch.rand(8) + torch.ones(8)), X)
    constants.apply(network)
    assert counts(network) == {"rand": 1, "add": 2}


def test_many_copies_stay_copies() -> None:
    def copied(x: Tensor, token: Tensor) -> Tensor:
        return torch.cat([(token * 2).expand(2, 256, 256, 8).flatten(1, 2), x], 1)

    x = torch.randn(2, 3, 8)
    network = folded(copied, x, token=torch.randn(1, 1, 1, 8))
    assert counts(network) == {"expand": 1, "reshape": 1, "cat": 1}
    assert one_constant(network).numel() == 8
    few = folded(lambda x, t: torch.cat([t.expand(2, 1, 8), x], 1), x, token=torch.randn(1, 1, 8))
    assert counts(few) == {"cat": 1}


def test_nothing_large_is_stored_that_is_made_of_little() -> None:
    def outer(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return x + (a + 1) * b

    a, b = torch.randn(3000, 1), torch.randn(1, 2000)
    network = folded(outer, torch.randn(3000, 2000), a=a, b=b)
    assert counts(network) == {"mul": 1, "add": 1}
    small = folded(outer, torch.randn(30, 20), a=a[:30], b=b[:, :20])
    assert counts(small) == {"add": 1}


def test_a_constant_output() -> None:
    module = Function(lambda x, c: (x + 1, c * 2), c=torch.ones(3))
    network = captured(module, X)
    constants.apply(network)
    assert counts(network) == {"add": 1}
    assert torch.equal(network.evaluate(X)[1], torch.full((3,), 2.0, dtype=torch.float64))


MERGED: dict[str, tuple[Callable[[Tensor], Tensor], dict[str, int]]] = {
    "one": (lambda x: x * 1 + 0 - 0, {}),
    "ones": (lambda x: x * torch.ones(8) / torch.ones(1), {}),
    "a quotient": (lambda x: x / 3, {"mul": 1}),
    "factors": (lambda x: 2 * (x * 3) / 7, {"mul": 1}),
    "summands": (lambda x: 1 + (x - 3) + 7, {"add": 1}),
    "a negative": (lambda x: -(x * 3), {"mul": 1}),
    "two negatives": (lambda x: x.neg().neg(), {}),
    "an inverse": (lambda x: 3 / (x * 2) * 5, {"div": 1}),
    "two inverses": (lambda x: 3 / (2 / x), {"mul": 1}),
    "from a number": (lambda x: 3 - (2 - x), {"add": 1}),
    "a number less a sum": (lambda x: 3 - (x + 2), {"sub": 1}),
    "affine": (lambda x: (x * 2 + 1) * 3 + 4, {"mul": 2, "add": 2}),
}


@pytest.mark.parametrize("name", MERGED)
def test_numbers_in_a_row_are_one(name: str) -> None:
    function, expected = MERGED[name]
    network = folded(lambda x: function(x.abs()), X)
    assert counts(network) == {"abs": 1, **expected}


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_row_of_numbers(data: st.DataObject) -> None:
    """One operator at most is left of it."""
    kinds = data.draw(st.sampled_from([("mul", "div", "over"), ("add", "sub", "from")]))
    steps = data.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5))
    shapes = st.sampled_from([(), (1,), (8,)])
    values = st.sampled_from([0.5, -3.0, 7.0, 1.0])
    numbers = [data.draw(values) * torch.ones(data.draw(shapes)) for _ in steps]

    def row(x: Tensor, *constants: Tensor) -> Tensor:
        for step, c in zip(steps, constants, strict=True):
            x = {
                "mul": lambda: c * x,  # noqa: B023
                "div": lambda: x / c,  # noqa: B023
                "over": lambda: c / x,  # noqa: B023
                "add": lambda: x + c,  # noqa: B023
                "sub": lambda: x - c,  # noqa: B023
                "from": lambda: c - x,  # noqa: B023
            }[step]()
        return x

    held = {f"c{i}": value for i, value in enumerate(numbers)}
    network = folded(row, X.abs() + 1, **held)
    assert sum(counts(network).values()) <= 1


def test_what_is_not_merged() -> None:
    read_twice = folded(lambda x: (x * 2).relu() + (x * 2 * 3), X)
    assert counts(read_twice)["mul"] == 2
    integers = folded(lambda i: i * 1 + 0, torch.arange(6))
    assert counts(integers) == {"mul": 1, "add": 1}
    outer = folded(lambda x: x * (torch.arange(6.0)[:, None, None] + 2) * (torch.arange(8) + 2), X)
    assert counts(outer)["mul"] == 2  # 48 factors where 14 do
    wider = folded(lambda x: x * torch.ones(2, 1, 1, 1, 1), X)
    assert counts(wider) == {"mul": 1}  # it makes an axis
    by_zero = folded(lambda x, z: (x / z).nan_to_num(0.0, 5.0, -5.0), X, z=torch.zeros(8))
    assert counts(by_zero)["div"] == 1


def test_a_product_by_a_matrix_that_turns_out_constant_is_a_linear_layer() -> None:
    x = torch.randn(2, 5, 6)
    network = folded(lambda x, m: x @ (m * 2).t(), x, m=torch.randn(3, 6))
    assert counts(network) == {"linear": 1}
    assert counts(folded(lambda x, m: x @ m, x, m=torch.randn(1, 6, 3))) == {"linear": 1}
    batch = folded(lambda x, m: x @ m, x, m=torch.randn(2, 6, 3))
    assert counts(batch) == {"matmul": 1}


def test_the_checks_see_a_wrong_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(x: Tensor) -> Tensor:
        return 3 / (x.abs() + 1) * 5

    def wrong(self: constants._Form, inner: constants._Form) -> constants._Form:
        return constants._Form(self.is_product, inner.x, inner.constant, self.sign * inner.sign)

    network = captured(Function(row), X)
    before = network.evaluate(X)
    with monkeypatch.context() as patch:
        patch.setattr(constants._Form, "of", wrong)
        assert constants.apply(network)
    assert not same_function(network, before, [X])
    network = captured(Function(lambda x: x + torch.arange(8) / 3), X)
    before = network.evaluate(X)
    with monkeypatch.context() as patch:
        patch.setattr(constants, "compute", lambda node, values, double: torch.ones(8))
        constants.apply(network)
    assert relative_error(network.evaluate(X), before) > 0.1
