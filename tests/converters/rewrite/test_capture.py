"""An exported program becomes a functional network that computes the same, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters.rewrite.capture import Unsupported, capture
from converters.rewrite.network import Network, shape_of
from tests.converters.rewrite.graphs import relative_error
from tests.converters.rewrite.modules import Function

X = torch.randn(2, 6, 4, 8, generator=torch.Generator().manual_seed(1))


def exported(module: nn.Module, *inputs: Tensor, **options: Any) -> torch.export.ExportedProgram:
    with torch.no_grad():
        return torch.export.export(module.eval(), inputs, **options)


def check(module: nn.Module, *inputs: Tensor) -> Network:
    network = capture(exported(module, *inputs))
    network.graph.lint()
    for node in network.calls():
        assert not getattr(node.target, "_schema", None) or not node.target._schema.is_mutable  # type: ignore[union-attr]
    with torch.no_grad():
        expected = module.double()(*(x.double() for x in inputs))
    outputs = network.evaluate(*inputs)
    assert relative_error(outputs, [expected] if isinstance(expected, Tensor) else expected) < 1e-12
    return network


def _views(x: Tensor) -> Tensor:
    y = x + 1
    y.view(-1).mul_(3)
    return y


def _two_names(x: Tensor) -> Tensor:
    y = x * 2
    z = y[:, 1:]
    y.relu_()
    return z.mean() + y


def _read_before(x: Tensor) -> Tensor:
    y = x * 2
    before = y.sum()
    y.relu_()
    return before + y


def _in_a_row(x: Tensor) -> Tensor:
    y = x.clone()
    y.add_(1).relu_()
    y.mul_(y)
    return y - x


def _into_a_part(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, 2:4] = x[:, :2]
    y[..., 0] += 1
    return y


def _into_an_item(x: Tensor) -> Tensor:
    y = x * 1
    first, second = y.chunk(2, 1)
    first.relu_()
    return y + second.repeat(1, 2, 1, 1)


def _through_a_dropout(x: Tensor) -> Tensor:
    y = x * 2
    same = F.dropout(y, training=False)
    same.relu_()
    return y


def _of_a_sometime_view(x: Tensor) -> Tensor:
    y = x * 2
    same = F.dropout(y, training=False).reshape(2, -1).type_as(y)
    same.relu_()
    return y


def _without_gradients(x: Tensor) -> Tensor:
    with torch.no_grad():
        y = x * 2
    with torch.autocast("cpu", enabled=False):
        return y.relu()


SOURCES = {
    "activations": lambda x: F.hardswish(F.silu(x * 2, inplace=True), inplace=True),
    "in a row": _in_a_row,
    "through a view": _views,
    "under two names": _two_names,
    "read before": _read_before,
    "into a part": _into_a_part,
    "into an item": _into_an_item,
    "of what may be a view": _of_a_sometime_view,
    "through a dropout": _through_a_dropout,
    "into an input": lambda x: x.relu_() + x,
    "blocks without gradients": _without_gradients,
    "two outputs": lambda x: (x.relu(), x.sum()),
    "an output twice": lambda x: [x + 1] * 2,
    "the input itself": lambda x: (x, x + 1),
}


@pytest.mark.parametrize("name", SOURCES)
def test_writes_in_place_are_gone(name: str) -> None:
    source: Callable[..., Any] = SOURCES[name]
    check(Function(source), X)


def test_the_check_sees_a_write_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    from converters.rewrite import capture as module

    def forgetful(graph: Any, node: Any, *_: Any) -> None:
        node.target = torch.ops.aten.relu.default

    monkeypatch.setattr(module, "_replace_write", forgetful)
    with pytest.raises(AssertionError):
        check(Function(_two_names), X)


def test_most_graphs_are_not_traced_again(monkeypatch: pytest.MonkeyPatch) -> None:
    program = exported(Function(SOURCES["activations"]), X)
    monkeypatch.setattr(type(program), "run_decompositions", None)
    assert len(capture(program).calls()) == 3


def test_weights_keep_names_and_types() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.ModuleDict({"b_c": nn.Linear(8, 8)})
            self.a_b = nn.ModuleDict({"c": nn.Linear(8, 8)})
            self.register_buffer("narrow", torch.ones(8, dtype=torch.float16), persistent=False)
            self.register_buffer("index", torch.tensor([3, 1]))

        def forward(self, x: Tensor) -> Tensor:
            y = self.a_b["c"](self.a["b_c"](x)) + self.get_buffer("narrow") + torch.tensor([0.1])
            return y[:, self.get_buffer("index")]

    network = capture(exported(Net(), X))
    held = {str(node.target): node for node in network.graph.find_nodes(op="get_attr")}
    assert len(held) == 7  # of a.b_c and of a_b.c both
    dtypes = {str(network.rounded(node).dtype) for node in held.values()}
    assert dtypes == {"torch.float32", "torch.float16", "torch.int64"}
    check(Net(), X)


def test_a_weight_that_is_read_twice_is_one_constant() -> None:
    layer = nn.Linear(8, 8)
    network = check(nn.Sequential(layer, nn.ReLU(), layer), X)
    weight, bias = network.graph.find_nodes(op="get_attr")
    assert not network.is_own(weight) and not network.is_own(bias)


def test_what_nobody_reads_is_gone() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(6)
            self.spare = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            self.spare(x)
            return self.norm(x)

    network = check(Net(), X)
    assert len(network.calls()) == 1 and len(network.graph.find_nodes(op="get_attr")) == 4


def test_the_program_is_left_alone() -> None:
    program = exported(Function(_two_names), X)
    before = str(program.graph)
    network = capture(program)
    for node in network.calls():
        node.args = ()
    assert str(program.graph) == before


def test_nodes_know_shape_and_module() -> None:
    network = capture(exported(nn.Sequential(nn.Conv2d(6, 3, 1), nn.ReLU()), X))
    assert [shape_of(node) for node in network.calls()] == [(2, 3, 4, 8)] * 2
    assert all(node.meta["val"].device.type == "meta" for node in network.calls())


class Counter(nn.Module):
    """Keeps a state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.get_buffer("count").add_(1)


def test_refusals() -> None:
    dynamic = {"x": {0: torch.export.Dim("batch", max=8)}}
    program = exported(Plain(), X, dynamic_shapes=dynamic)
    with pytest.raises(Unsupported, match="sizes are free"):
        capture(program)
    with pytest.raises(Unsupported, match="writes into 'count'"):
        capture(exported(Counter(), X))
    with pytest.raises(Unsupported, match="not a tensor"):
        capture(exported(Function(lambda x: (x + 1, 3)), X))
    branching = Function(lambda x: torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,)))
    with pytest.raises(Unsupported, match="runs on a condition"):
        capture(exported(branching, X))
    with pytest.raises(Unsupported, match="sizes vary"):
        capture(exported(Function(lambda x: x[x > 0] * 2), X))


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1
