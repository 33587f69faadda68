"""Large depthwise kernels are sums of small ones."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters.rewrite import depthwise_split
from converters.rewrite.network import Network, shape_of
from tests.converters.rewrite.graphs import applied, captured, counts, same_function
from tests.converters.rewrite.modules import Function

C = 4


def depthwise(kernel: int | tuple[int, int], **options: object) -> nn.Conv2d:
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    same = tuple(side // 2 for side in sides)
    return nn.Conv2d(C, C, sides, **{"groups": C, "padding": same, **options})  # type: ignore[arg-type]


def taps(network: Network) -> list[int]:
    """The taps of each convolution."""
    convs = network.calls(torch.ops.aten.conv2d.default)
    return sorted(math.prod(shape_of(node.args[1])[2:]) for node in convs)  # type: ignore[arg-type]


@settings(max_examples=20, deadline=None)
@given(
    rows=st.sampled_from([1, 5, 7, 9, 11]), columns=st.sampled_from([7, 9, 11]),
    stride=st.integers(1, 3), dilation=st.integers(1, 2), more=st.integers(0, 2),
    bias=st.booleans(), size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
)  # fmt: skip
def test_the_sum_is_the_convolution(
    rows: int, columns: int, stride: int, dilation: int, more: int, bias: bool,
    size: tuple[int, int],
) -> None:  # fmt: skip
    padding = (rows // 2 * dilation + more, columns // 2 * dilation)
    conv = depthwise((rows, columns), stride=stride, dilation=dilation, padding=padding, bias=bias)
    is_slow = rows * columns not in (7, 9)
    count, used = applied(depthwise_split.apply, conv, torch.randn(2, C, *size))
    assert count == int(is_slow)
    assert used["add"] == used["conv2d"] - 1 and (used["conv2d"] > 1) == is_slow


@pytest.mark.parametrize(
    ("kernel", "parts"),
    [
        (3, [9]),
        (5, [25]),
        ((3, 5), [15]),
        ((1, 11), [2, 9]),
        ((11, 1), [2, 9]),
        (7, [8, 20, 21]),
        (9, [16, 20, 20, 25]),
    ],
)
def test_parts_are_of_sizes_that_are_fast(kernel: int | tuple[int, int], parts: list[int]) -> None:
    network = captured(depthwise(kernel), torch.randn(1, C, 12, 12))
    depthwise_split.apply(network)
    assert taps(network) == parts
    for node in network.calls(torch.ops.aten.conv2d.default):
        assert shape_of(node) == (
            1,
            C,
            12,
            12,
        )  # by its own padding: no file needs another beside it


@pytest.mark.parametrize("rows", [1, 3, 7, 9, 13, 31])
@pytest.mark.parametrize("columns", [7, 11, 31])
def test_each_tap_is_in_one_part(rows: int, columns: int) -> None:
    parts, _ = depthwise_split._cheapest(rows, columns)
    weight = torch.arange(rows * columns).reshape(1, 1, rows, columns)
    found = torch.cat([depthwise_split._taps(weight, part).flatten() for part in parts])
    assert sorted(found.tolist()) == list(range(rows * columns))
    if rows * columns > 25:
        assert all(depthwise_split._taps(weight, part).numel() <= 25 for part in parts)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(C, C, 7, padding=3),
        nn.Conv2d(C, 2 * C, 7, padding=3, groups=C),
        nn.Conv2d(C, C, 7, padding=3, groups=2),
        depthwise(7, padding=2),
        depthwise(7, padding=(3, 0)),
        depthwise(7, padding=3, dilation=2),
        depthwise((6, 7)),
        depthwise(5),
        nn.Sequential(*[depthwise(7)] * 2),
    ],
    ids=[
        "dense", "two outputs a channel", "groups of channels", "padding too small",
        "no padding on one axis", "padding too small for the dilation", "even", "fast", "shared",
    ],
)  # fmt: skip
def test_what_is_not_split(module: nn.Module) -> None:
    network = captured(module, torch.randn(1, C, 16, 16))
    before = counts(network)
    assert depthwise_split.apply(network) == 0
    assert counts(network) == before


def test_a_computed_kernel_is_not_split() -> None:
    def convolved(x: Tensor, w: Tensor) -> Tensor:
        return nn.functional.conv2d(x, w, padding=3, groups=C)

    network = captured(Function(convolved), torch.randn(1, C, 9, 9), torch.randn(C, 1, 7, 7))
    assert depthwise_split.apply(network) == 0


def test_the_check_sees_a_wrong_tap(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, C, 12, 12)

    def off_by_one(weight: Tensor, part: depthwise_split.Part) -> Tensor:
        right = taps_of(weight, part)
        return right.roll(1, -1) if part == parts[-1] else right

    taps_of, (parts, _) = depthwise_split._taps, depthwise_split._cheapest(7, 7)
    network = captured(depthwise(7), x)
    before = network.evaluate(x)
    monkeypatch.setattr(depthwise_split, "_taps", off_by_one)
    depthwise_split.apply(network)
    assert not same_function(network, before, [x])
