"""What does not depend on the inputs, computed once; numbers behind each other, as one.

    f(c) for constants c is a constant
    x * 1 = x + 0 = x        x / c = x * (1/c)        (x * a) * b = x * (a b)
    (a / x) * b = (a b) / x        (x + a) + b = x + (a + b)        (a - x) + b = (a + b) - x

Positional encodings, bias tables behind their indices, masks, weights that are standardised before
use: whatever has no input above it becomes a constant. It is computed in double precision, but as
the source computes it where a step lies between (a floor, a comparison), on the other side of
which rounding may have put it. Many copies of a constant stay copies, and nothing is stored that
is large and larger than what it is made of.

A product by a matrix that turns out constant is a linear layer.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils._pytree import tree_leaves, tree_map

from .canonical import reshape
from .canonical.layers import as_weight
from .network import Network, compute, dtype_of, only_reader, shape_of, walk

aten = torch.ops.aten

_LARGE = 2**22  # numbers; what is computed and larger is stored only if it is made of as many
_MANY = 2**14  # numbers; an expansion to more of them stays an expansion
# From floating numbers to floating ones, but with jumps.
_STEPS = (
    aten.floor.default, aten.ceil.default, aten.trunc.default, aten.round.default,
    aten.round.decimals, aten.frac.default, aten.sign.default, aten.div.Tensor_mode,
    aten.div.Scalar_mode, aten.floor_divide.default, aten.floor_divide.Scalar,
    aten.remainder.Tensor, aten.remainder.Scalar, aten.fmod.Tensor, aten.fmod.Scalar,
)  # fmt: skip


def apply(network: Network) -> int:
    return _fold(network) + _merge(network) + _use_linear_layers(network)


class _Values:
    """What the nodes that depend on no input compute, in double precision."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.exact: dict[Node, Any] = {}
        self._native: dict[Node, Any] = {}  # in the source's own precision, where it is asked for
        with torch.no_grad():
            for node in network.graph.nodes:
                if node.op == "get_attr":
                    self.exact[node] = network.value(node)
                elif self._is_constant(node):
                    self.exact[node] = self._computed(node)

    def _is_constant(self, node: Node) -> bool:
        if node.op != "call_function":
            return False
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            return False
        return all(operand in self.exact for operand in node.all_input_nodes)

    def _computed(self, node: Node) -> Any:
        if _is_step(node):
            return tree_map(_widened, self._in_native_precision(node))
        return compute(node, self.exact, double=True)

    def _in_native_precision(self, node: Node) -> Any:
        if node not in self._native:
            if node.op == "get_attr":
                self._native[node] = self._network.rounded(node)
            else:
                for operand in node.all_input_nodes:
                    self._in_native_precision(operand)
                self._native[node] = compute(node, self._native, double=False)
        return self._native[node]


def _is_step(node: Node) -> bool:
    """Whether rounding before a node may change what it gives by more than rounding."""
    operands = [operand.meta["val"] for operand in node.all_input_nodes]
    reads_floating, gives_floating = (
        [one.is_floating_point() for one in tree_leaves(values)]
        for values in (operands, node.meta["val"])
    )
    return node.target in _STEPS or (any(reads_floating) and not all(gives_floating))


def _widened(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value


def _fold(network: Network) -> int:
    values = _Values(network).exact
    kept: set[Node] = set()  # they stay, and read constants
    count = 0
    for node, value in reversed(values.items()):
        if node.op == "get_attr" or not _is_needed(node, values, kept):
            continue
        if _stays(node, value):
            kept.add(node)
            continue
        constant = network.constant(value, before=node, dtype=dtype_of(node), name=node.name)
        network.replace(node, constant)
        count += 1
    return count


def _is_needed(node: Node, values: Mapping[Node, Any], kept: Container[Node]) -> bool:
    """Whether a node that stays reads this one, as a tensor."""
    if not isinstance(values[node], Tensor):
        return False
    return any(reader not in values or reader in kept for reader in node.users)


def _stays(node: Node, value: Tensor) -> bool:
    if _is_copies(node):
        return True
    sources = (one.meta["val"].numel() for one in walk([node]) if one.op == "get_attr")
    return value.numel() > _LARGE and value.numel() > sum(sources)


def _is_copies(node: Node) -> bool:
    """Whether a node is a large expansion, or moves one."""
    if node.target in (aten.reshape.default, aten.permute.default, aten.slice.Tensor):
        operand: Any = node.args[0]
        return _is_copies(operand)
    return node.target is aten.expand.default and node.meta["val"].numel() > _MANY


@dataclass(frozen=True)
class _Form:
    """`constant * x^sign`, or `constant + sign * x`; the sign is 1 or -1."""

    is_product: bool
    x: Node
    constant: Tensor
    sign: int

    def of(self, inner: _Form) -> _Form:
        """This form with the inner one in the place of its x."""
        if self.is_product:
            constant = self.constant * inner.constant**self.sign
        else:
            constant = self.constant + self.sign * inner.constant
        return _Form(self.is_product, inner.x, constant, self.sign * inner.sign)


_FORMS = (
    aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.neg.default,
)  # fmt: skip


def _merge(network: Network) -> int:
    count = 0
    for node in network.calls(*_FORMS):
        form = _form(network, node)
        if form is None:
            continue
        merged = _merged(network, node, form)
        # By a constant, a product with its inverse is cheaper than a quotient.
        is_quotient = node.target is aten.div.Tensor and form.sign == 1
        if merged is not form or is_quotient or _is_neutral(form, node):
            network.replace(node, _call(network, merged, at=node))
            count += 1
    return count


def _is_neutral(form: _Form, node: Node) -> bool:
    """Whether a form leaves its x as it is, in the shape of `node`."""
    neutral = bool((form.constant == int(form.is_product)).all())
    return neutral and form.sign == 1 and shape_of(form.x) == shape_of(node)


def _call(network: Network, form: _Form, *, at: Node) -> Node:
    if _is_neutral(form, at):
        return form.x
    is_number = form.constant.ndim == 0
    if form.sign == 1:
        target = aten.mul.Tensor if form.is_product else aten.add.Tensor
        operand = float(form.constant) if is_number else _constant(network, form, at=at)
        return network.call(target, form.x, operand, at=at)
    target = aten.div.Tensor if form.is_product else aten.sub.Tensor
    return network.call(target, _constant(network, form, at=at), form.x, at=at)


def _constant(network: Network, form: _Form, *, at: Node) -> Node:
    return network.constant(form.constant, before=at, dtype=dtype_of(at), name=at.name)


def _form(network: Network, node: Node) -> _Form | None:
    """None where neither operand, or both, is constant, or for integers."""
    if not dtype_of(node).is_floating_point:
        return None
    is_product = node.target not in (aten.add.Tensor, aten.sub.Tensor)
    x: Any
    y: Any
    if node.target is aten.neg.default:
        x, constant, sign = node.args[0], -torch.ones((), dtype=torch.float64), 1
    else:
        x, y = node.args
        is_inverse = node.target in (aten.sub.Tensor, aten.div.Tensor)
        left, right = network.value(x), network.value(y)
        if (left is None) == (right is None):
            return None
        if right is not None:
            constant, sign = right.double(), 1
            if is_inverse:
                constant = 1 / constant if is_product else -constant
        else:
            assert left is not None
            x, constant, sign = y, left.double(), -1 if is_inverse else 1
    if not bool(constant.isfinite().all()) or dtype_of(x) != dtype_of(node):
        return None
    return _Form(is_product, x, constant, sign)


def _merged(network: Network, node: Node, form: _Form) -> _Form:
    """The form with those before it that nothing else reads."""
    while form.x.op == "call_function" and only_reader(form.x) is not None:
        inner = _form(network, form.x) if form.x.target in _FORMS else None
        if inner is None or inner.is_product != form.is_product:
            break
        both = form.of(inner)
        if both.constant.numel() > max(form.constant.numel(), inner.constant.numel()):
            break
        if torch.broadcast_shapes(both.constant.shape, shape_of(both.x)) != shape_of(node):
            break
        if not bool(both.constant.isfinite().all()):
            break
        form = both
    return form


def _use_linear_layers(network: Network) -> int:
    count = 0
    for node in network.calls(aten.matmul.default):
        if not dtype_of(node).is_floating_point:
            continue
        weight = as_weight(network, node.args[1], at=node)
        if weight is not None:
            y = network.call(aten.linear.default, node.args[0], weight, at=node)
            network.replace(node, reshape(network, y, shape_of(node), at=node))
            count += 1
    return count
