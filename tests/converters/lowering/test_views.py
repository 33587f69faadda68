"""Chains of operators that move numbers, with computing ones between: torch's result, always."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx
from torch.fx import Node

from converters.lowering.program import NotCovered
from converters.rewrite.network import Network, shape_of
from tests.converters.lowering.lowered import error, normal, program_of

aten = torch.ops.aten

_MOST = 2000  # numbers in a value


class Chain:
    """A network that grows by operators which `draw` chooses."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.inputs: list[Tensor] = []
        graph = fx.Graph()
        shapes = draw(st.lists(st.lists(_SIDES, min_size=1, max_size=4), min_size=1, max_size=2))
        self.values: list[Node] = []
        for i, shape in enumerate(shapes):
            node = graph.placeholder(f"x{i}")
            node.meta["val"] = torch.empty(shape, device="meta")
            self.values.append(node)
            self.inputs.append(normal(*shape, seed=i))
        self.output = graph.output((self.values[0],))
        self.network = Network(graph, {})

    def call(self, target: Any, *args: Any) -> Node:
        return self.network.call(target, *args, at=self.output)

    def constant(self, *shape: int) -> Node:
        value = normal(*shape, seed=len(self.values) + 10)
        return self.network.constant(value, before=self.output, dtype=torch.float32)

    def grow(self, step: Any) -> None:
        """Appends what a step makes of one of the last values, where it makes anything of it."""
        x = self.values[-1 - self.draw(st.integers(0, min(1, len(self.values) - 1)))]
        y = step(self, x, shape_of(x))
        if y is not None and 0 < math.prod(shape_of(y)) <= _MOST:
            self.values.append(y)

    def finish(self) -> Network:
        """With the last value and another one as outputs, whatever else was made left out."""
        other = self.values[self.draw(st.integers(0, len(self.values) - 1))]
        self.output.args = ((self.values[-1], other),)
        for node in reversed(list(self.network.graph.nodes)):
            if not node.users:
                self.network.remove(node)
        self.network.graph.lint()
        return self.network

    def axis(self, shape: tuple[int, ...]) -> int:
        return self.draw(st.integers(0, len(shape) - 1))


_SIDES = st.sampled_from((1, 2, 3, 4, 6))


def _reshape(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node | None:
    """Factors of the sizes dealt out anew, with ones among them."""
    factors = [f for side in shape for f in _prime_factors(side)]
    groups = chain.draw(st.integers(1, 5))
    borders = sorted(chain.draw(st.integers(0, len(factors))) for _ in range(groups - 1))
    pairs = zip([0, *borders], [*borders, len(factors)], strict=True)
    new = [math.prod(factors[a:b]) for a, b in pairs]
    return chain.call(aten.reshape.default, x, new)


def _prime_factors(n: int) -> list[int]:
    for f in range(2, n + 1):
        if n % f == 0:
            return [f, *_prime_factors(n // f)]
    return []


def _permute(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node:
    order = chain.draw(st.permutations(range(len(shape))))
    return chain.call(aten.permute.default, x, list(order))


def _slice(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node:
    axis = chain.axis(shape)
    start = chain.draw(st.integers(0, shape[axis] - 1))
    end = chain.draw(st.integers(start + 1, shape[axis]))
    step = chain.draw(st.integers(1, 3))
    return chain.call(aten.slice.Tensor, x, axis, start, end, *([step] if step > 1 else []))


def _expand(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node:
    new = [chain.draw(_SIDES) if side == 1 else side for side in shape]
    ahead = [chain.draw(_SIDES)] if len(shape) < 5 and chain.draw(st.booleans()) else []
    return chain.call(aten.expand.default, x, ahead + new)


def _cat(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node:
    """With parts of itself, others of its shape, and constants."""
    axis = chain.axis(shape)
    parts = [x]
    for _ in range(chain.draw(st.integers(1, 2))):
        part = chain.draw(st.sampled_from(("slice", "other", "constant")))
        others = [one for one in chain.values if shape_of(one) == shape]
        if part == "slice":
            end = chain.draw(st.integers(1, shape[axis]))
            parts.append(chain.call(aten.slice.Tensor, x, axis, 0, end))
        elif part == "other":
            parts.append(chain.draw(st.sampled_from(others)))
        else:
            parts.append(chain.constant(*shape))
    parts = list(chain.draw(st.permutations(parts)))
    return chain.call(aten.cat.default, parts, axis)


def _turned(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node | None:
    """With the same seen another way: two operands that come from one array."""
    order = chain.draw(st.permutations(range(len(shape))))
    other = chain.call(aten.permute.default, x, list(order))
    if shape_of(other) != shape:
        other = chain.call(aten.reshape.default, other, list(shape))
    target = chain.draw(st.sampled_from((aten.add.Tensor, aten.mul.Tensor)))
    return chain.call(target, x, other)


def _pad(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node:
    axes = chain.draw(st.integers(1, len(shape)))
    widths = [chain.draw(st.integers(0, 2)) for _ in range(2 * axes)]
    return chain.call(aten.constant_pad_nd.default, x, widths, chain.draw(st.sampled_from((0, 1))))


def _add(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node | None:
    """Another value or a constant, where they broadcast."""
    other = chain.draw(st.sampled_from((*chain.values, None)))
    if other is None:
        sides = [side if chain.draw(st.booleans()) else 1 for side in shape]
        other = chain.constant(*sides[chain.draw(st.integers(0, len(sides) - 1)) :])
    try:
        torch.broadcast_shapes(shape, shape_of(other))
    except RuntimeError:
        return None
    operands = (x, other) if chain.draw(st.booleans()) else (other, x)
    return chain.call(chain.draw(st.sampled_from((aten.sub.Tensor, aten.mul.Tensor))), *operands)


def _relu(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node:
    return chain.call(aten.relu.default, x)


def _softmax(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node:
    return chain.call(aten.softmax.int, x, chain.axis(shape))


def _mean(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node:
    axes = chain.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    target = chain.draw(st.sampled_from((aten.mean.dim, aten.sum.dim_IntList)))
    return chain.call(target, x, sorted(axes), True)


def _linear(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node:
    n = chain.draw(_SIDES)
    bias = [chain.constant(n)] if chain.draw(st.booleans()) else []
    return chain.call(aten.linear.default, x, chain.constant(n, shape[-1]), *bias)


def _matmul(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node | None:
    """By itself transposed, by another value that fits, or by a constant."""
    if len(shape) < 2:
        return None
    turn = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    fitting: list[Any] = [
        one
        for one in chain.values
        if len(shape_of(one)) >= 2
        and shape_of(one)[-2] == shape[-1]
        and (shape_of(one)[:-2] == shape[:-2] or len(shape_of(one)) == 2)
    ]
    other = chain.draw(st.sampled_from((*fitting, "itself", "constant", "left")))
    if other == "itself":
        pair = [x, chain.call(aten.permute.default, x, turn)]
        return chain.call(aten.matmul.default, *chain.draw(st.permutations(pair)))
    batch = [side if chain.draw(st.booleans()) else 1 for side in shape[:-2]]
    if other == "constant":
        other = chain.constant(*batch, shape[-1], chain.draw(_SIDES))
    elif other == "left":
        return chain.call(
            aten.matmul.default, chain.constant(*batch, chain.draw(_SIDES), shape[-2]), x
        )
    return chain.call(aten.matmul.default, x, other)


def _conv(chain: Chain, x: Node, shape: tuple[int, ...]) -> Node | None:
    if len(shape) != 4:
        return None
    channels = shape[1]
    k = chain.draw(st.sampled_from((1, 1, 3)))
    groups = chain.draw(st.sampled_from((1, channels)))
    out = chain.draw(_SIDES) if groups == 1 else channels * chain.draw(st.integers(1, 2))
    weight = chain.constant(out, channels // groups, k, k)
    stride = chain.draw(st.integers(1, 2))
    pads = [k // 2, k // 2]
    return chain.call(aten.conv2d.default, x, weight, None, [stride, stride], pads, [1, 1], groups)


_MOVING = (_reshape, _permute, _slice, _expand, _cat, _pad)
_COMPUTING = (_add, _turned, _relu, _softmax, _mean, _linear, _matmul, _conv)


@st.composite
def chains(draw: st.DrawFn) -> tuple[Network, list[Tensor]]:
    chain = Chain(draw)
    steps = st.one_of(st.sampled_from(_MOVING), st.sampled_from(_COMPUTING))
    for step in draw(st.lists(steps, min_size=5, max_size=12)):
        chain.grow(step)
    return chain.finish(), chain.inputs


@settings(max_examples=300, deadline=None)
@given(chains())
def test_chains(made: tuple[Network, list[Tensor]]) -> None:
    network, inputs = made
    try:
        program = program_of(network)
    except NotCovered as reason:
        assert re.fullmatch(
            r"(broadcasting over|a transposition of) ([7-9]|\d\d) axes", str(reason)
        )
    else:
        assert error(program, network, *inputs) < 1e-9
