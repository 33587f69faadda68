"""Linear layers and products of matrices: which operand has to be turned, if any."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor as TorchTensor
from torch.fx import Node

from ...rewrite.network import Network, argument
from ..arrangement import Atom, Axis, View, by_place, size
from ..lower import Lowering, rule
from ..program import NotCovered, Tensor

aten = torch.ops.aten


@rule(aten.linear.default)
def _linear(low: Lowering, node: Node) -> View:
    weight = low.weight(argument(node, 1, "weight"))
    bias = low.weight(argument(node, 2, "bias"))
    assert weight is not None
    return fully_connected(low, low.view(node.args[0]), weight, bias, str(node.args[1]))


def fully_connected(
    low: Lowering, x: View, weight: TorchTensor, bias: TorchTensor | None, name: str
) -> View:
    """x (..., K) times weight (N, K)^T plus bias: the last axis has to lie last in memory."""
    build = low.build
    view, tensor = build.last(x, len(x.axes) - 1)
    operands = [tensor, build.constant(weight.numpy(), name)]
    if bias is not None:
        operands.append(build.constant(bias.numpy(), f"{name}_bias"))
    n = weight.shape[0]
    result = build.emit("fully_connected", operands, [*tensor.shape[:-1], n], activation=None)
    last = view.axes[-1]
    out = (Atom(n, last[0].place if last else (3,)),) if n > 1 else ()
    memory = view.memory[: len(view.memory) - len(last)]
    return View(result, (*memory, *out), (*view.axes[:-1], out))


@dataclass(frozen=True)
class _Plan:
    """How a product is computed: left (batch, rows, K) times right, as arrangements.

    With `swapped` the second operand is the left one, and the result is transposed.
    """

    swapped: bool
    transposed: bool  # the right operand lies as (batch, columns, K)
    left: tuple[Axis, Axis, Axis]
    right: tuple[Axis, Axis, Axis]
    cost: int


@rule(aten.matmul.default)
def _matmul(low: Lowering, node: Node) -> View:
    """a (..., M, K) times b (..., K, N).

    The inner order of batch, M and N is free, and so is which operand is the left one:
    (a b)^T = b^T a^T. The plan with the fewest numbers to move wins.
    """
    build = low.build
    a, b = low.view(node.args[0]), low.view(node.args[1])
    if b.is_constant and len(b.axes) == 2:
        return _constant_right(low, node, a)
    if min(len(a.axes), len(b.axes)) < 2:
        raise NotCovered("a product with a vector")
    rank = max(len(a.axes), len(b.axes))
    a, b = (v.with_axes([()] * (rank - len(v.axes)) + list(v.axes)) for v in (a, b))
    batch = range(rank - 2)
    a, b = build.aligned(a, b, [*((i, i) for i in batch), (rank - 1, rank - 2)])
    for i in batch:
        if bool(a.axes[i]) != bool(b.axes[i]):
            raise NotCovered("a product that repeats one operand for a batch of the other")
    plan = min(_plans(a, b, _reads_rows(low.network, node)), key=lambda one: one.cost)
    left, right = (b, a) if plan.swapped else (a, b)
    x, y = _operand(low, left, plan.left), _operand(low, right, plan.right)
    shape = (*x.shape[:-1], y.shape[-2] if plan.transposed else y.shape[-1])
    result = build.emit("batch_matmul", [x, y], shape, transpose_b=plan.transposed)
    names = dict(zip(_atoms(b.axes[:-2]), _atoms(a.axes[:-2]), strict=True))
    outer = [names.get(atom, atom) for atom in plan.left[0]]
    rows = plan.left[1]
    inner = plan.right[1] if plan.transposed else plan.right[2]
    # Rows and columns may be the same atoms of one array; in the product they are two things.
    new = {atom: atom.renewed() for atom in inner}
    memory = (*outer, *rows, *(new[atom] for atom in inner))
    m, n = a.axes[-2], b.axes[-1]
    if plan.swapped:
        m = tuple(new[atom] for atom in m)
    else:
        n = tuple(new[atom] for atom in n)
    return View(result, memory, (*a.axes[:-2], m, n))


def _constant_right(low: Lowering, node: Node, a: View) -> View:
    weight = low.weight(node.args[1])
    assert weight is not None
    return fully_connected(low, a, weight.t().contiguous(), None, str(node.args[1]))


def _atoms(axes: Sequence[Axis]) -> list[Atom]:
    return [atom for axis in axes for atom in axis]


def _operand(low: Lowering, view: View, axes: tuple[Axis, Axis, Axis]) -> Tensor:
    """An array (batch, rows, columns)."""
    return low.build.arranged(view, axes)


def _reads_rows(network: Network, node: Node) -> bool:
    """Whether a softmax over the columns reads the product, perhaps after a mask or a scale."""
    del network
    waiting = [node]
    for _ in range(6):
        if not waiting:
            return False
        readers = list(waiting.pop().users)
        for reader in readers:
            if reader.target is aten.softmax.int:
                return reader.args[1] in (-1, len(reader.meta["val"].shape) - 1)
            if reader.target in (aten.add.Tensor, aten.mul.Tensor, aten.reshape.default,
                                 aten.div.Tensor):  # fmt: skip
                waiting.append(reader)
    return False


def _plans(a: View, b: View, keep_innerlast: bool) -> list[_Plan]:
    plans = []
    batches = {
        tuple(atom for atom in view.memory if atom in _atoms(view.axes[:-2])) for view in (a, b)
    }
    to_a = dict(zip(_atoms(b.axes[:-2]), _atoms(a.axes[:-2]), strict=True))
    to_b = {ours: theirs for theirs, ours in to_a.items()}
    orders = {tuple(to_a.get(atom, atom) for atom in batch) for batch in batches}
    orders.add(by_place(_atoms(a.axes[:-2])))
    orders = {order for order in orders if len(order) == len(to_a)}
    k_a, k_b = a.axes[-1], b.axes[-2]
    rows, columns = _in_memory_order(a, a.axes[-2]), _in_memory_order(b, b.axes[-1])
    for order, inner in itertools.product(sorted(orders, key=lambda o: [x.place for x in o]),
                                          _inner_orders(a, b)):  # fmt: skip
        in_b = tuple(to_b[atom] for atom in order)
        ka = tuple(k_a[i] for i in inner)
        kb = tuple(k_b[i] for i in inner)
        first = (order, rows, ka)
        second = (in_b, columns, kb)
        turned_a = (order, ka, rows)
        turned_b = (in_b, kb, columns)
        for left, right, swapped, transposed in (
            (first, second, False, True),
            (first, turned_b, False, False),
            (second, first, True, True),
            (second, turned_a, True, False),
        ):
            one, other = (b, a) if swapped else (a, b)
            cost = _moves(one, left) + _moves(other, right)
            if swapped and keep_innerlast:
                cost += 2 * size(rows) * size(columns) * size(order)
            plans.append(_Plan(swapped, transposed, left, right, 4 * cost + 2 * swapped))
    return plans


def _inner_orders(a: View, b: View) -> list[tuple[int, ...]]:
    """Orders of the atoms that are summed over, as either operand has them in memory."""
    found = []
    for view, axis in ((a, a.axes[-1]), (b, b.axes[-2])):
        places = [view.memory.index(atom) if atom in view.memory else -1 for atom in axis]
        found.append(tuple(sorted(range(len(axis)), key=lambda i: places[i])))
    return list(dict.fromkeys(found))


def _in_memory_order(view: View, atoms: Axis) -> Axis:
    if any(atom not in view.memory for atom in atoms):
        return atoms
    return tuple(sorted(atoms, key=view.memory.index))


def _moves(view: View, axes: tuple[Axis, Axis, Axis]) -> int:
    """How many numbers are copied to bring a view into an order."""
    order = tuple(atom for axis in axes for atom in axis)
    if order == view.memory or view.is_constant:
        return 0
    return size(order)
