"""Linear layers and products of matrices: which operand has to be turned, if any."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor as TorchTensor
from torch.fx import Node

from ...rewrite.network import argument, dtype_of, shape_of
from ..arrangement import Atom, Axis, View, by_place, fresh, size
from ..broadcasting import aligned, of_one_rank, pairwise
from ..builder import Builder
from ..forms import innermost
from ..program import NotCovered
from ..rules import Lowering, array, rule
from .reducing import softmax

aten = torch.ops.aten

_ROWS, _COLUMNS = -2, -1  # axes of a product
_FEW = 16  # channels
_FORBIDDEN = -1e30  # a logit; infinities become NaN where a runtime subtracts them


@rule(aten.linear.default)
def _linear(low: Lowering, node: Node) -> View:
    x, weight = node.args[:2]
    bias = argument(node, 2, "bias")
    view = low.view(x)
    if low.constant(weight) is None:
        w = low.view(weight)
        y = product(low.build, view, w.permuted([1, 0]), _wanted(node))
        return y if bias is None else pairwise(low.build, "add", y, low.view(bias))
    values = None if bias is None else low.weight(bias)
    return fully_connected(low.build, view, low.weight(weight), values, str(weight))


def fully_connected(
    build: Builder,
    x: View,
    weight: TorchTensor,
    bias: TorchTensor | None,
    name: str,
    out: Axis | None = None,
) -> View:
    """The product of x (..., K) and weight (N, K)^T, plus bias (N); `out` are the atoms of N.

    The last axis of x has to lie last in memory, but in any order: the weight's columns follow.
    Where it lies first it may stay there: then it is the product of weight and x^T.
    """
    last = x.axes[-1]
    n = weight.shape[0]
    if out is None:
        out = (Atom(n, last[0].place if last else (len(x.axes),)),) if n > 1 else ()
    if not _lies_last(x, last) and reads_in_place(x, len(x.axes) - 1, bias is not None):
        own = x.in_memory_order(last)
        rest = x.memory[len(own) :]
        matrix = build.constant(array(_columns(weight, last, own))[None], name)
        operands = [matrix, build.arranged(x, [(), own, rest])]
        turned = build.emit("batch_matmul", operands, (1, n, size(rest)), transpose_b=False)
        result = View(turned, (*out, *rest), (*x.axes[:-1], out))
        if bias is None:
            return result
        return pairwise(build, "add", result, fresh(build.constant(array(bias), f"{name}_bias")))
    x = innermost(build, x, len(x.axes) - 1)
    own = x.in_memory_order(last)
    operands = [x.tensor, build.constant(array(_columns(weight, last, own)), name)]
    if bias is not None:
        operands.append(build.constant(array(bias), f"{name}_bias"))
    shape = (*x.tensor.shape[:-1], n)
    tensor = build.emit("fully_connected", operands, shape, activation=None)
    rest = x.memory[: len(x.memory) - len(own)]
    return View(tensor, (*rest, *out), (*x.axes[:-1], out))


def reads_in_place(x: View, axis: int, is_biased: bool) -> bool:
    """Whether a linear layer over this axis takes x as it lies.

    Weight times x^T packs x anew in each run, and has its bias added by another operation: that
    costs no more than transpositions there and back where there is no bias, or few channels, as in
    the mixing of attention heads.
    """
    atoms = x.axes[axis]
    may_be_first = not is_biased or size(atoms) <= _FEW
    return _lies_last(x, atoms) or (may_be_first and _lies_first(x, atoms))


def _lies_last(x: View, atoms: Axis) -> bool:
    """Whether atoms are all that is innermost in memory, in any order."""
    return x.in_memory_order(atoms) == x.memory[len(x.memory) - len(atoms) :]


def _lies_first(x: View, atoms: Axis) -> bool:
    """Whether atoms are all that is outermost in memory, in any order, with others behind."""
    return 0 < len(atoms) < len(x.memory) and x.in_memory_order(atoms) == x.memory[: len(atoms)]


def _columns(weight: TorchTensor, atoms: Axis, order: Axis) -> TorchTensor:
    """A weight (N, K) with the atoms of K in another order."""
    if order == atoms:
        return weight
    sides = [atom.size for atom in atoms]
    places = [atoms.index(atom) + 1 for atom in order]
    return weight.reshape(-1, *sides).permute(0, *places).reshape(weight.shape)


@rule(aten.matmul.default, aten.bmm.default)
def _matmul(low: Lowering, node: Node) -> View:
    a, b = (low.view(one) for one in node.args)
    if min(len(a.axes), len(b.axes)) < 2:
        raise NotCovered("a product with a vector")
    return product(low.build, a, b, _wanted(node))


@rule(aten.scaled_dot_product_attention.default)
def _attention(low: Lowering, node: Node) -> View:
    """One that no rewrite spelled out: softmax(scale q k^T + mask) v."""
    mask = argument(node, 3, "attn_mask")
    if argument(node, 4, "dropout_p", 0.0) or argument(node, 5, "is_causal", False):
        raise NotCovered("attention with dropout or a causal mask")
    if node.kwargs.get("enable_gqa", False):
        raise NotCovered("attention with groups of heads")
    q, k, v = (low.view(one) for one in node.args[:3])
    scale: Any = node.kwargs.get("scale")
    if scale is None:
        scale = 1 / math.sqrt(q.shape[-1])
    rank = len(k.axes)
    logits = product(low.build, q, k.permuted([*range(rank - 2), rank - 1, rank - 2]), _COLUMNS)
    logits = pairwise(low.build, "multiply", logits, low.number(scale))
    if mask is not None:
        logits = pairwise(low.build, "add", logits, _added(low, mask))
    return product(low.build, softmax(low.build, logits, len(logits.axes) - 1), v)


def _added(low: Lowering, mask: Node) -> View:
    """A mask as a summand of logits. What a constant forbids becomes far less than any logit."""
    if dtype_of(mask) is not torch.bool:
        return low.view(mask)
    allowed = low.constant(mask)
    if allowed is None or not allowed.any(-1).all():
        raise NotCovered("attention with a boolean mask that is no constant, or that forbids a row")
    values = torch.zeros(allowed.shape).masked_fill(~allowed, _FORBIDDEN)
    return fresh(low.build.constant(array(values), mask.name))


@dataclass(frozen=True)
class _Plan:
    """How a product is computed: left (batch, rows, K) times right, as arrangements.

    With `swapped` the second operand is the left one, and the result is transposed.
    """

    swapped: bool
    transposed: bool  # the right operand lies as (batch, columns, K)
    left: tuple[Axis, Axis, Axis]
    right: tuple[Axis, Axis, Axis]

    @property
    def columns(self) -> Axis:
        return self.right[1 if self.transposed else 2]


def product(build: Builder, a: View, b: View, wanted: int | None = None) -> View:
    """The product of a (..., M, K) and b (..., K, N), batch axes broadcast.

    Which operand is the left one is free, as (a b)^T = b^T a^T, and so is the order of the batch,
    of the rows, the columns and K. The plan that copies fewest numbers wins; `wanted` is the axis
    of the result that its readers want to be innermost. A batch that only one operand has counts
    as more of its rows: nothing is repeated.
    """
    a, b = of_one_rank(a, b.renewed())
    rank = len(a.axes)
    batch = range(rank - 2)
    a, b = aligned(build, a, b, [*((i, i) for i in batch), (rank - 1, rank - 2)])
    pairs = [pair for i in batch for pair in zip(a.axes[i], b.axes[i], strict=False)]
    common = [(x, y) for x, y in pairs if x in a.memory and y in b.memory]
    k_a, k_b = a.axes[-1], b.axes[-2]
    rows = tuple(atom for atom in a.memory if atom not in (*k_a, *(x for x, _ in common)))
    columns = tuple(atom for atom in b.memory if atom not in (*k_b, *(y for _, y in common)))
    if b.is_constant and not common:
        y = _by_constant(build, a.with_axes([rows, k_a]), b.with_axes([columns, k_b]))
    elif a.is_constant and not common:
        y = _by_constant(build, b.with_axes([columns, k_b]), a.with_axes([rows, k_a]))
    else:
        plans = _plans(a, b, common, rows, columns)
        y = _carried_out(build, a, b, min(plans, key=lambda plan: _cost(a, b, plan, wanted)))
    names = {theirs: mine for mine, theirs in pairs}
    axes = (*(a.axes[i] or b.axes[i] for i in batch), a.axes[-2], b.axes[-1])
    return View(y.tensor, tuple(names.get(atom, atom) for atom in y.memory), axes)


def _carried_out(build: Builder, a: View, b: View, plan: _Plan) -> View:
    """The product in the order of its memory, with axes still to be given."""
    left, right = (b, a) if plan.swapped else (a, b)
    operands = [build.arranged(left, plan.left), build.arranged(right, plan.right)]
    batch, rows, _ = plan.left
    shape = (size(batch), size(rows), size(plan.columns))
    tensor = build.emit("batch_matmul", operands, shape, transpose_b=plan.transposed)
    return View(tensor, (*batch, *rows, *plan.columns), ())


def _by_constant(build: Builder, x: View, constant: View) -> View:
    """The product of x (M, K) and a constant (N, K)^T."""
    n, k = constant.axes
    weight = build.arranged(constant, [n, k])
    assert weight.data is not None
    return fully_connected(build, x, torch.from_numpy(weight.data), None, weight.name, n)


def _wanted(node: Node, steps: int = 4) -> int | None:
    """Which axis of a product a softmax goes over, after a scale, a mask, a reshape perhaps."""
    for reader in node.users:
        if reader.target is aten.softmax.int:
            axis: Any = reader.args[1]
            return int(axis) - len(shape_of(reader))
        is_between = reader.target in _ON_LOGITS and shape_of(reader)[-2:] == shape_of(node)[-2:]
        wanted = _wanted(reader, steps - 1) if is_between and steps else None
        if wanted is not None:
            return wanted
    return None


_ON_LOGITS = (aten.add.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.reshape.default)


def _plans(
    a: View, b: View, common: Sequence[tuple[Atom, Atom]], rows: Axis, columns: Axis
) -> Iterator[_Plan]:
    to_b = dict(common)
    to_a = {theirs: mine for mine, theirs in common}
    orders = (
        a.in_memory_order(list(to_b)),
        tuple(to_a[atom] for atom in b.in_memory_order(list(to_a))),
        by_place(list(to_b)),
    )
    k_a, k_b = a.axes[-1], b.axes[-2]
    for order, inner in itertools.product(orders, (_inner_order(a, k_a), _inner_order(b, k_b))):
        batch_b = tuple(to_b[atom] for atom in order)
        ka, kb = tuple(k_a[i] for i in inner), tuple(k_b[i] for i in inner)
        yield _Plan(False, True, (order, rows, ka), (batch_b, columns, kb))
        yield _Plan(False, False, (order, rows, ka), (batch_b, kb, columns))
        yield _Plan(True, True, (batch_b, columns, kb), (order, rows, ka))
        yield _Plan(True, False, (batch_b, columns, kb), (order, ka, rows))


def _inner_order(view: View, axis: Axis) -> list[int]:
    """The places of an axis' atoms in the order that they have in memory."""
    own = view.in_memory_order(axis)
    return [axis.index(atom) for atom in own] if len(own) == len(axis) else [*range(len(axis))]


def _cost(a: View, b: View, plan: _Plan, wanted: int | None) -> tuple[int, int, bool]:
    """How many numbers are copied; then, how often not in rows; then, the product as it stands."""
    left, right = (b, a) if plan.swapped else (a, b)
    operands = ((left, plan.left), (right, plan.right))
    moved = sum(_moved(view, axes) for view, axes in operands)
    if wanted == (_COLUMNS if plan.swapped else _ROWS):
        batch, rows, _ = plan.left
        moved += 2 * size((*batch, *rows, *plan.columns))  # there and back
    scattered = [view.memory[-1:] != (*axes[1], *axes[2])[-1:] for view, axes in operands]
    return moved, sum(scattered), plan.swapped


def _moved(view: View, axes: Sequence[Axis]) -> int:
    order = tuple(atom for axis in axes for atom in axis)
    return 0 if order == view.memory or view.is_constant else size(order)
