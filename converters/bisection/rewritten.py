"""A source as rewrites made it, with its own modules: what a file can be held against.

A file of a rewritten network has other values inside than its source: a residual stream without a
mean, keys without a bias. The rewritten graph has the file's. Each of its operators knows the
module that it comes from, so that they can be put back into modules of those names, which
`trace_source` watches as it does the source's.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx import Node
from torch.utils._pytree import tree_leaves, tree_unflatten

from .. import parity
from ..artifact import GoldenCase
from ..deploy import Interface
from ..lowering import operators  # noqa: F401  # registers the rules
from ..lowering.program import NotCovered
from ..lowering.rules import Lowering
from ..recipe import Recipe
from ..rewrite import REWRITES, rewrite
from ..rewrite.canonical import canonicalise
from ..rewrite.capture import Unsupported, capture
from ..rewrite.network import Network, shape_of
from .align import Layouts, Order


@dataclass(frozen=True)
class Held:
    """What a file is held against, and the orders in which the direct emitter has its values."""

    module: nn.Module
    layouts: Layouts


def rewritten_source(
    source: nn.Module, interface: Interface, case: GoldenCase, recipe: Recipe
) -> Held:
    """The source after the recipe's rewrites, as a module that is called as the source is.

    The source itself where it cannot be captured, or where its rewritten form does not give the
    case's outputs: a fault of a rewrite is looked for in the source's own terms.
    """
    args, kwargs = interface.source_arguments(case.inputs)
    try:
        with torch.no_grad():
            exported = torch.export.export(source, tuple(args), kwargs)
        network = capture(exported)
        canonicalise(network)
        chosen = REWRITES if recipe.rewrites is None else recipe.rewrites
        rewrite(network, recipe.target, chosen)
        staged = _Called(network, exported.call_spec.out_spec).eval()
        with torch.no_grad():
            found = interface.name_outputs(staged(*args, **kwargs))
    except (Unsupported, RuntimeError):
        return Held(source, {})
    outputs = {name: tensor.numpy(force=True) for name, tensor in found.items()}
    record = parity.judge([case], [outputs], precision="fp32", runtime="PyTorch")
    if record.verdict == "fail":
        return Held(source, {})
    return Held(staged, {} if recipe.target == "coreml" else _layouts(network))


def _layouts(network: Network) -> Layouts:
    """How the direct route lays values out in memory; nothing where it does not cover the graph."""
    lowering = Lowering(network)
    found: dict[tuple[int, ...], dict[Order, None]] = {}
    try:
        for node in network.inputs:
            lowering.give(node, node.name)
        for node in network.calls():
            lowering.step(node)
            view = lowering.view(node)
            atoms = [atom for axis in view.axes for atom in axis]
            if len(atoms) == len(view.memory):  # no number stands for several
                sides = tuple(atom.size for atom in atoms)
                order = Order(tuple(map(atoms.index, view.memory)), usual=True, sides=sides)
                found.setdefault(shape_of(node), {})[order] = None
    except NotCovered:
        return {}
    return {shape: tuple(orders) for shape, orders in found.items()}


@dataclass(frozen=True)
class _Value:
    """A value of the graph, by name, among the arguments of a step."""

    name: str


@dataclass(frozen=True)
class _Step:
    """An operator, or with `part` a run of the module of that name; it gives `results`."""

    target: Any
    args: Any
    kwargs: Mapping[str, Any]
    results: tuple[str, ...]
    part: int | None = None


@dataclass(frozen=True)
class _Run:
    """What a module does from when it is called until it returns."""

    inputs: tuple[str, ...]
    steps: tuple[_Step, ...]
    outputs: tuple[str, ...]


class _Stage(nn.Module):
    """A module of the source, with the operators that came from it, in one run or several."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[_Run] = []

    def forward(self, number: int, *given: Tensor) -> tuple[Tensor, ...]:
        run = self.runs[number]
        values: dict[str, Any] = dict(zip(run.inputs, given, strict=True))

        def value(argument: Any) -> Any:
            if not isinstance(argument, _Value):
                return argument
            found = values.get(argument.name)
            return getattr(self, _held(argument.name)) if found is None else found

        for step in run.steps:
            args = fx.node.map_aggregate(step.args, value)
            if step.part is None:
                results = (step.target(*args, **fx.node.map_aggregate(step.kwargs, value)),)
            else:
                results = self.get_submodule(step.target)(step.part, *args)
            values.update(zip(step.results, results, strict=True))
        return tuple(values[name] for name in run.outputs)


class _Called(nn.Module):
    """The stages behind the source's own arguments and results."""

    root: tuple[_Stage]  # not as a module, whose name would stand before the others'

    def __init__(self, network: Network, out_spec: Any) -> None:
        super().__init__()
        self.out_spec = out_spec
        self.inputs = tuple(node.name for node in network.inputs)
        nodes = network.calls()
        results = [node.name for node in network.outputs]
        holder = nn.Module()
        _fill(holder, "network", nodes, network, depth=0, outputs=dict.fromkeys(results))
        self.results = tuple(results)
        root = cast(_Stage, holder.network)
        self.root = (root,)
        # What the root's modules are called in the source, they are called here.
        for name, child in root.named_children():
            self.add_module(name, child)

    def _apply(self, function: Any, recurse: bool = True) -> _Called:
        self.root[0]._apply(function, recurse)
        super()._apply(function, recurse)
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        root = self.root[0]
        known = dict(zip(self.inputs, given, strict=True))
        found = root.forward(0, *(known[name] for name in root.runs[0].inputs))
        known.update(zip(root.runs[0].outputs, found, strict=True))
        return tree_unflatten([known[name] for name in self.results], self.out_spec)


def _fill(
    parent: nn.Module,
    name: str,
    nodes: Sequence[Node],
    network: Network,
    *,
    depth: int,
    outputs: Mapping[str, None],
) -> _Step:
    """Adds a run of these nodes to the parent's module of that name; the step that calls it."""
    *containers, last = name.split(".")
    for one in containers:  # which the source never calls: `stages` in stages.0
        if not hasattr(parent, one):
            parent.add_module(one, nn.Module())
        parent = getattr(parent, one)
    if not hasattr(parent, last):
        kind = _components(nodes[0])[depth - 1][1] if depth else "Network"
        parent.add_module(last, type(kind, (_Stage,), {})())
    stage: _Stage = getattr(parent, last)
    inside = set(nodes)
    steps = []
    for child, group in itertools.groupby(nodes, key=lambda node: _child(node, depth)):
        members = list(group)
        if child is None:
            for node in members:
                for operand in node.all_input_nodes:
                    if operand.op == "get_attr":
                        stage.register_buffer(_held(operand.name), network.rounded(operand))
                steps.append(
                    _Step(node.target, _plain(node.args), _plain(node.kwargs), (node.name,))
                )
        else:
            steps.append(_fill(stage, child, members, network, depth=depth + 1, outputs=outputs))
    read = [operand for node in nodes for operand in node.all_input_nodes]
    given = dict.fromkeys(one.name for one in read if one not in inside and one.op != "get_attr")
    made = [
        node.name
        for node in nodes
        if node.name in outputs or any(reader not in inside for reader in node.users)
    ]
    stage.runs.append(_Run(tuple(given), tuple(steps), tuple(made)))
    arguments = tuple(_Value(one) for one in given)
    return _Step(name, arguments, {}, tuple(made), part=len(stage.runs) - 1)


def _plain(arguments: Any) -> Any:
    def plain(argument: Any) -> Any:
        return _Value(argument.name) if isinstance(argument, Node) else argument

    return fx.node.map_aggregate(arguments, plain)


def _held(name: str) -> str:
    return f"_constant_{name}"


def _components(node: Node) -> list[tuple[str, str]]:
    """The modules around a node, outermost first: path from the one before, and class."""
    stack: Mapping[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    found: list[tuple[str, str]] = []
    before = ""
    for path, kind in stack.values():
        if path:
            name = kind if isinstance(kind, str) else kind.__name__
            found.append((path.removeprefix(before), name.rpartition(".")[2]))
            before = f"{path}."
    return found


def _child(node: Node, depth: int) -> str | None:
    components = _components(node)
    return components[depth][0] if len(components) > depth else None
