"""Readings of views say of each element where it lies in the source."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx
from torch.fx import Node

from converters.rewrite import readings
from converters.rewrite.network import Network
from converters.rewrite.readings import Reading, constant_of, readers, reading

aten = torch.ops.aten


def empty_network(*shape: int) -> tuple[Network, Node, Node]:
    """A network that returns its input, the input, and the output node."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    x.meta["val"] = torch.empty(shape, device="meta")
    end = graph.output((x,))
    return Network(graph, {}), x, end


def replayed(value: Node, source: Node, tensor: Tensor) -> Tensor:
    """The view `value` of a tensor in the place of `source`, computed."""
    path: list[Any] = []
    while value is not source:
        path.append(value)
        value = value.args[0]  # type: ignore[assignment]
    for view in reversed(path):
        tensor = view.target(tensor, *view.args[1:])
    return tensor


def flat_index(read: Reading, shape: torch.Size) -> Tensor:
    source = read.source.meta["val"].shape
    total = torch.zeros([1] * len(shape), dtype=torch.long)
    for axis, side in enumerate(source):
        total = total * side + read.index(axis)
    return total.expand(shape)


@st.composite
def regrouped(draw: st.DrawFn, count: int) -> list[int]:
    """A shape with this many elements."""
    sides = [1] * draw(st.integers(0, 1))
    while count > 1:
        side = draw(st.sampled_from([n for n in range(count, 1, -1) if count % n == 0]))
        sides.append(side)
        count //= side
    return sides or [1]


@st.composite
def view(draw: st.DrawFn, network: Network, value: Node, end: Node) -> Node:
    shape = list(value.meta["val"].shape)
    kind = draw(st.sampled_from(["reshape", "permute", "slice", "expand"]))
    if kind == "reshape":
        sides = draw(regrouped(math.prod(shape)))
        return network.call(aten.reshape.default, value, sides, at=end)
    if kind == "permute":
        order = draw(st.permutations(range(len(shape))))
        return network.call(aten.permute.default, value, list(order), at=end)
    if kind == "slice":
        axis = draw(st.integers(0, len(shape) - 1))
        start = draw(st.integers(0, shape[axis] - 1))
        stop = draw(st.integers(start + 1, shape[axis]))
        step = draw(st.integers(1, 2))
        return network.call(aten.slice.Tensor, value, axis, start, stop, step, at=end)
    sides = [draw(st.sampled_from([1, 2])) if side == 1 else side for side in [1, *shape]]
    return network.call(aten.expand.default, value, sides, at=end)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_index_is_the_place_in_the_source(data: st.DataObject) -> None:
    network, value, end = empty_network(2, 12, 6)
    for _ in range(data.draw(st.integers(1, 5))):
        value = data.draw(view(network, value, end))
    read = reading(value)
    source = read.source.meta["val"]
    places = torch.arange(source.numel()).reshape(source.shape)
    expected = replayed(value, read.source, places)
    assert torch.equal(flat_index(read, expected.shape), expected)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_values_go_to_views_and_come_back(data: st.DataObject) -> None:
    network, value, end = empty_network(2, 12, 6)
    for _ in range(data.draw(st.integers(1, 4))):
        value = data.draw(view(network, value, end))
    read = reading(value)
    shape = read.source.meta["val"].shape
    axes = sorted(data.draw(st.sets(st.integers(0, len(shape) - 1))))
    values = torch.rand([side if i in axes else 1 for i, side in enumerate(shape)]).double()
    seen = read.of_source(values)
    expected = replayed(value, read.source, values.expand(shape))
    assert torch.equal(seen.expand(expected.shape), expected)
    back = read.by_source(seen, axes)
    assert back is not None
    mask = torch.ones([], dtype=torch.bool)
    for axis in axes:
        mask = mask[..., None] & read.covered(axis)
    back = back.reshape(mask.shape)
    known = ~back.isnan()
    assert torch.equal(back[known], values.reshape(mask.shape)[known])
    assert not bool((known & ~mask).any())


def heads_of_keys(network: Network, x: Node, end: Node) -> Node:
    """The keys of a joint projection (B, N, 3*4*5), (B, 4, N, 5)."""
    y = network.call(aten.reshape.default, x, [2, 7, 3, 4, 5], at=end)
    y = network.call(aten.permute.default, y, [2, 0, 3, 1, 4], at=end)
    y = network.call(aten.slice.Tensor, y, 0, 1, 2, at=end)
    return network.call(aten.reshape.default, y, [2, 4, 7, 5], at=end)


def test_channels_of_keys_in_a_joint_projection() -> None:
    network, x, end = empty_network(2, 7, 60)
    read = reading(heads_of_keys(network, x, end))
    assert read.source is x
    assert read.index(2).shape == (1, 4, 1, 5)
    assert read.index(2).flatten().tolist() == list(range(20, 40))
    assert read.covered(2).nonzero().flatten().tolist() == list(range(20, 40))
    assert read.read_in_full(1) and not read.read_in_full(2)


def test_factor_that_differs_between_positions_is_none_of_channels() -> None:
    network, x, end = empty_network(2, 7, 60)
    read = reading(heads_of_keys(network, x, end))
    by_head = torch.rand(4, 1, 1)
    factor = read.by_source(by_head, [2])
    assert factor is not None
    assert torch.equal(factor[20:40], by_head.flatten().repeat_interleave(5).double())
    assert bool(factor[:20].isnan().all())
    assert read.by_source(torch.rand(7, 1), [2]) is None


@pytest.mark.parametrize("sides", [[8, 3], [4, 6]])
def test_reading_starts_anew_where_a_digit_would_be_cut(sides: list[int]) -> None:
    network, x, end = empty_network(4, 6)
    y = network.call(aten.permute.default, x, [1, 0], at=end)
    y = network.call(aten.reshape.default, y, sides, at=end)
    y = network.call(aten.permute.default, y, [1, 0], at=end)
    source = reading(y).source
    assert source.target is aten.reshape.default


def test_steps_across_digits_are_not_followed() -> None:
    network, x, end = empty_network(4, 6)
    y = network.call(aten.permute.default, x, [1, 0], at=end)
    y = network.call(aten.reshape.default, y, [24], at=end)
    y = network.call(aten.slice.Tensor, y, 0, 0, 24, 2, at=end)
    assert reading(y).source is y


def test_all_readers_are_found_through_views() -> None:
    network, x, end = empty_network(4, 6)
    half = network.call(aten.slice.Tensor, x, 1, 0, 3, at=end)
    turned = network.call(aten.permute.default, half, [1, 0], at=end)
    relu = network.call(aten.relu.default, turned, at=end)
    found = {reader: read for reader, _, read in readers(x)}
    assert set(found) == {relu, end}
    read = found[relu]
    assert read is not None and read.covered(1).tolist() == [True] * 3 + [False] * 3


def test_views_of_constants_are_constants() -> None:
    network, x, end = empty_network(4, 6)
    constant = network.constant(torch.arange(6.0), before=x, dtype=torch.float32)
    wide = network.call(aten.reshape.default, constant, [1, 6, 1, 1], at=end)
    wide = network.call(aten.expand.default, wide, [2, 6, 3, 3], at=end)
    value = constant_of(network, wide)
    assert value is not None and value.shape == (1, 6, 1, 1)
    assert value.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert constant_of(network, x) is None


def test_index_sees_a_wrong_stride(monkeypatch: pytest.MonkeyPatch) -> None:
    right = readings.Digit

    def wrong(axis: int, stride: int, size: int) -> readings.Digit:
        return right(axis, stride if size != 3 else stride + 1, size)

    monkeypatch.setattr(readings, "Digit", wrong)
    network, x, end = empty_network(2, 7, 60)
    y = network.call(aten.reshape.default, x, [2, 7, 3, 20], at=end)
    read = reading(y)
    expected = torch.arange(2 * 7 * 60).reshape(2, 7, 3, 20)
    assert not torch.equal(flat_index(read, expected.shape), expected)
