"""Layers on one input, and that input itself, are one layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters.rewrite import residual_conv
from tests.converters.rewrite.graphs import applied, captured, counts, same_function
from tests.converters.rewrite.modules import Function

C = 6
X = torch.randn(2, C, 9, 8, generator=torch.Generator().manual_seed(1))


class Branches(nn.Module):
    """Layers, and a function that puts their results on one input together."""

    def __init__(self, join: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.join = join
        self.layers = nn.ModuleList(layers)
        self.scale = nn.Parameter(torch.ones(C, 1, 1))

    def forward(self, x: Tensor) -> Any:
        return self.join(x, *(layer(x) for layer in self.layers))


def conv(kernel: int | tuple[int, int] = 3, groups: int = C, **options: Any) -> nn.Conv2d:
    options.setdefault("padding", kernel // 2 if isinstance(kernel, int) else 0)
    return nn.Conv2d(C, C, kernel, groups=groups, **options)


@settings(max_examples=15, deadline=None)
@given(
    kernel=st.sampled_from([1, 3, 5, 7]), dilation=st.integers(1, 3),
    groups=st.sampled_from([1, 2, C]), bias=st.booleans(),
    join=st.sampled_from([
        lambda x, y: x + y, lambda x, y: y + x, lambda x, y: y - x, lambda x, y: x - y,
        lambda x, y: 0.5 * x + 3 * y, lambda x, y: 1 - y / 3 - (x + 2),
    ]),
)  # fmt: skip
def test_a_shortcut(
    kernel: int, dilation: int, groups: int, bias: bool, join: Callable[..., Tensor]
) -> None:
    padding = kernel // 2 * dilation
    layer = conv(kernel, groups, padding=padding, dilation=dilation, bias=bias)
    count, used = applied(residual_conv.apply, Branches(join, layer), X)
    assert count == 1 and used["conv2d"] == 1
    assert sum(used.values()) <= 2  # a number at the end may stay


@settings(max_examples=25, deadline=None)
@given(
    kernels=st.tuples(*[st.sampled_from([1, 2, 3, 5])] * 2), stride=st.integers(1, 2),
    dilations=st.tuples(*[st.integers(1, 2)] * 2), groups=st.sampled_from([1, C]),
    join=st.sampled_from([lambda x, a, b: a + b, lambda x, a, b: a - b, lambda x, a, b: 2 * b + a]),
)  # fmt: skip
def test_convolutions_side_by_side(
    kernels: tuple[int, int], stride: int, dilations: tuple[int, int], groups: int,
    join: Callable[..., Tensor],
) -> None:  # fmt: skip
    """The smaller one has its taps in the middle of those of the other."""
    reach = [d * (k - 1) for k, d in zip(kernels, dilations, strict=True)]
    assume(reach[0] % 2 == reach[1] % 2)
    more = 1 if reach[0] % 2 else 0  # both read as far to the right as the other
    paddings = [(one + more) // 2 for one in reach]
    layers = [
        conv(k, groups, stride=stride, padding=p, dilation=d)
        for k, p, d in zip(kernels, paddings, dilations, strict=True)
    ]
    count, used = applied(residual_conv.apply, Branches(join, *layers), X)
    taps = [
        {i * d - p for i in range(k)} for k, d, p in zip(kernels, dilations, paddings, strict=True)
    ]
    assert count == int(taps[0] <= taps[1] or taps[1] <= taps[0])
    assert used["conv2d"] == 2 - count


def test_the_form_for_training_of_repvgg() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList([conv(3, 1), conv(1, 1)])
            self.norms = nn.ModuleList([nn.BatchNorm2d(C) for _ in range(2)])
            self.scale, self.shift = (nn.Parameter(torch.ones(C, 1, 1)) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            y = self.convs[0](x) + self.convs[1](x) + (self.scale * x + self.shift)
            return y.relu()

    count, used = applied(residual_conv.apply, nn.Sequential(Block(), Block()), X)
    assert (count, used) == (4, {"conv2d": 2, "relu": 2})


def test_linear_layers() -> None:
    x = torch.randn(2, 5, C)
    layer = nn.Linear(C, C)
    assert applied(residual_conv.apply, Branches(lambda x, y: x + y, layer), x) == (
        1,
        {"linear": 1},
    )
    both = Branches(lambda x, a, b: a - 2 * b, nn.Linear(C, 3, bias=False), nn.Linear(C, 3))
    assert applied(residual_conv.apply, both, x) == (1, {"linear": 1})


def test_the_sum_may_go_on() -> None:
    """FastViT's mixer: x + scale (mixer(x) - norm(x))."""

    def mixed(x: Tensor, y: Tensor) -> Tensor:
        return x + (y - (x * 3 + 1)) * 0.25

    assert applied(residual_conv.apply, Branches(mixed, conv(7)), X) == (2, {"conv2d": 1})


def plain(x: Tensor, y: Tensor) -> Tensor:
    return x + y


SHARED = conv()
UNTOUCHED: dict[str, nn.Module] = {
    "stride": Branches(lambda x, y: x[:, :, ::2, ::2] + y, conv(stride=2)),
    "another size": Branches(lambda x, y: x[:, :, 1:-1, 1:-1] + y, conv(padding=0)),
    "the same size, moved": Branches(
        plain, nn.Sequential(nn.ZeroPad2d((2, 0, 2, 0)), conv(padding=0))
    ),
    "between the taps": Branches(plain, conv(2, padding=1, dilation=2)),
    "more channels out": Branches(lambda x, y: x[:, :1] + y, nn.Conv2d(C, 2 * C, 1)),
    "broadcast": Branches(lambda x, y: y + x.mean((2, 3), keepdim=True), conv()),
    "another input": Branches(lambda x, y: y + x.relu(), conv()),
    "read twice": Branches(lambda x, y: (x + y) * y.sigmoid(), conv()),
    "an output": Branches(lambda x, y: (x + y, y), conv()),
    "shared weights": Branches(lambda x, a, b: (x + a) * b.sigmoid(), SHARED, SHARED),
    "a factor for each position": Branches(lambda x, y: x * torch.arange(8) + y, conv()),
    "a factor behind, for each position": Branches(lambda x, y: x + y * torch.arange(8), conv()),
    "other groups": Branches(lambda x, a, b: a + b, conv(3, C), conv(1, 1)),
    "other strides": Branches(
        lambda x, a, b: a + b[:, :, :5, :4], conv(stride=2), conv(1, stride=(1, 1))
    ),
    "crossed": Branches(
        lambda x, a, b: a + b, conv((1, 3), padding=(0, 1)), conv((3, 1), padding=(1, 0))
    ),
    "no layer": Function(lambda x: x * 2 + x * 3),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_is_not_merged(name: str) -> None:
    network = captured(UNTOUCHED[name], X)
    before = counts(network)
    assert residual_conv.apply(network) == 0
    assert counts(network) == before


@pytest.mark.parametrize(
    "module", [Branches(plain, conv(3)), Branches(lambda x, a, b: a + b, conv(3), conv(1))]
)
def test_the_check_sees_a_wrong_tap(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = residual_conv._offsets

    def off_by_one(args: Any, axis: int) -> list[int]:
        right = offsets(args, axis)
        return [offset + len(right) // 2 for offset in right]

    network = captured(module, X)
    before = network.evaluate(X)
    monkeypatch.setattr(residual_conv, "_offsets", off_by_one)
    assert residual_conv.apply(network) == 1
    assert not same_function(network, before, [X])
