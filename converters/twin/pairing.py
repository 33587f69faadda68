"""The operators of an fp16 function beside those of its fp32 twin.

They are paired from the inputs on, names left out: two operators are alike when their types,
arguments and constants are, constants up to rounding. Where one has no exact twin, the nearest is
reported as what it should be and paired with it, so that one fault gives one difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..runtimes.mil.program import Block, Function, Value
from .graph import Graph, Node, Resolved, Unpaired, has_rounded_results
from .rounding import fault_of_constant

_MOST_DIFFERENCES = 20  # two networks with little in common differ in every operator


@dataclass(frozen=True)
class Difference:
    """Where an fp16 program is not its twin, rounded."""

    operator: str  # its type and name, or what else differs
    what: str

    def __str__(self) -> str:
        return f"{self.operator}: {self.what}"


class Comparison:
    """Two functions side by side: `single` of the fp32 program, `half` of the fp16 program."""

    def __init__(self, single: Function, half: Function) -> None:
        self._single = Graph(single)
        self._half = Graph(half)
        self._twins: dict[str, str] = {}  # variable of the fp16 program -> of the fp32 program
        self._missing: list[Node] = []
        self._differences: list[Difference] = []

    def run(self) -> list[Difference]:
        single, half = self._single.function, self._half.function
        if single.opset != half.opset:
            self._report("the program", f"is of {half.opset}, its fp32 twin of {single.opset}")
        if single.inputs != half.inputs:
            self._report("the program", "has other inputs than its fp32 twin")
        outputs = [
            [(name, graph.type_of(name)) for name in graph.function.block.outputs]
            for graph in (self._single, self._half)
        ]
        if outputs[0] != outputs[1]:
            self._report("the program", "has other outputs than its fp32 twin")
        self._twins = {one.name: one.name for one in single.inputs}
        self._compare_blocks(single.block, half.block)
        return [Difference(str(node), "is missing") for node in self._missing] + self._differences

    def _report(self, where: object, what: str) -> None:
        self._differences.append(Difference(str(where), what))

    def _compare_blocks(self, single: Block, half: Block) -> None:
        rest = Unpaired(self._single.nodes(single))
        pending = self._half.nodes(half)
        while pending and len(self._differences) < _MOST_DIFFERENCES:
            stuck = [node for node in pending if not self._pair_exactly(node, rest)]
            if len(stuck) == len(pending):
                # All that the first one reads is settled: if it has no twin, that is its own fault.
                self._settle(stuck.pop(0), stuck, rest)
            pending = stuck
        known = set(self._twins.values())
        self._missing += [node for node in rest if node.variables <= known]
        if not self._missing and not self._differences:
            for a, b in zip(single.outputs, half.outputs, strict=False):
                fault = self._argument_fault(self._single.resolve(a), self._half.resolve(b))
                if fault is not None:
                    self._report(f"the output {b}", fault)

    def _pair_exactly(self, node: Node, rest: Unpaired) -> bool:
        twin = self._exact_twin(node, rest)
        if twin is not None:
            self._pair(twin, node, rest)
        return twin is not None

    def _exact_twin(self, node: Node, rest: Unpaired) -> Node | None:
        if not node.variables <= self._twins.keys():
            return None
        readings = frozenset((p, place, self._twins[name]) for p, place, name in node.readings)
        candidates = rest.of(node.type, readings)
        return next((one for one in candidates if not any(self._faults(one, node))), None)

    def _pair(self, twin: Node, node: Node, rest: Unpaired) -> None:
        rest.remove(twin)
        single, half = twin.operation, node.operation
        for a, b in zip(single.outputs, half.outputs, strict=False):
            self._twins[b.name] = a.name
        for inner, other in zip(single.blocks, half.blocks, strict=False):
            for a, b in zip(inner.inputs, other.inputs, strict=False):
                self._twins[b.name] = a.name
            self._compare_blocks(inner, other)

    def _faults(self, single: Node, half: Node) -> Iterator[str]:
        """What keeps `half` from being `single`, rounded."""
        if single.type != half.type:
            yield f"is {half.type}, not {single.type}"
        yield from self._argument_faults(single, half)
        attributes = single.operation.attributes, half.operation.attributes
        if attributes[0].keys() != attributes[1].keys():
            yield "has other attributes"
        for name in sorted(attributes[0].keys() & attributes[1].keys() - {"name"}):
            if fault := fault_of_constant(attributes[0][name], attributes[1][name]):
                yield f"{name} {fault}"
        if not has_rounded_results(single, half):
            yield "has results of another type or shape"
        blocks = [
            [[one.type for one in block.inputs] for block in node.operation.blocks]
            for node in (single, half)
        ]
        if blocks[0] != blocks[1]:
            yield "has other blocks"

    def _argument_faults(self, single: Node, half: Node) -> Iterator[str]:
        if single.arguments.keys() != half.arguments.keys():
            extra = single.arguments.keys() ^ half.arguments.keys()
            yield f"has other parameters ({', '.join(sorted(extra))})"
        for parameter in sorted(single.arguments.keys() & half.arguments.keys()):
            pairs = single.arguments[parameter], half.arguments[parameter]
            if len(pairs[0]) != len(pairs[1]):
                yield f"{parameter} has {len(pairs[1])} arguments, not {len(pairs[0])}"
                continue
            if single.type == half.type == "cast" and parameter == "dtype":
                continue  # the type of its result tells the same, and may be rounded
            for a, b in zip(*pairs, strict=True):
                if fault := self._argument_fault(a, b):
                    yield f"{parameter} {fault}"

    def _argument_fault(self, single: Resolved, half: Resolved) -> str | None:
        if isinstance(single, Value) and isinstance(half, Value):
            return fault_of_constant(single, half)
        if isinstance(single, Value):
            return "is computed, not a constant"
        if isinstance(half, Value):
            return "is a constant, not computed"
        return None if self._twins.get(half) == single else f"is {half}, not {single}"

    def _settle(self, node: Node, others: list[Node], rest: Unpaired) -> None:
        """Reports an operator without an exact twin and pairs it with the nearest.

        An operator without any counterpart is passed over, and so is one that is missing, if what
        reads it then has its twin.
        """
        if self._is_added(node, others, rest):
            self._report(node, "has no counterpart in the fp32 twin")
            return
        twin = self._exact_twin_behind(node, rest)
        if twin is None:
            twin = max(rest, key=lambda one: self._likeness(one, node), default=None)
            if twin is None or self._likeness(twin, node) == (0, 0, 0):
                self._report(node, "has no counterpart in the fp32 twin")
                return
            for fault in self._faults(twin, node):
                self._report(node, fault)
        self._pair(twin, node, rest)

    def _is_added(self, node: Node, others: list[Node], rest: Unpaired) -> bool:
        """Whether readers of the node have exact twins once it is passed over."""
        if len(node.operation.outputs) != 1:
            return False
        (output,) = node.operation.outputs
        readers = [one for one in others if output.name in one.variables]
        for name in sorted(node.variables & self._twins.keys()):
            self._twins[output.name] = self._twins[name]
            if any(self._exact_twin(reader, rest) for reader in readers):
                return True
            del self._twins[output.name]
        return False

    def _exact_twin_behind(self, node: Node, rest: Unpaired) -> Node | None:
        """The twin of a node in whose way to what it reads one operator is missing."""
        if not node.variables <= self._twins.keys():
            return None
        known = set(self._twins.values())
        for between in [*self._missing, *rest]:
            if len(between.operation.outputs) != 1 or not between.variables <= known:
                continue
            for name in sorted(node.variables):
                before = self._twins[name]
                if before not in between.variables:
                    continue
                self._twins[name] = between.operation.outputs[0].name
                twin = self._exact_twin(node, rest)
                self._twins[name] = before
                if twin is not None:
                    if between not in self._missing:
                        self._missing.append(between)
                        rest.remove(between)
                    return twin
        return None

    def _likeness(self, single: Node, half: Node) -> tuple[int, int, int]:
        """How much two operators have in common: variables, type, constants; zeros if nothing."""
        places = {(p, place, self._twins.get(name)) for p, place, name in half.readings}
        names = {self._twins.get(name) for name in half.variables}
        shared = len(places & single.readings) + len(names & single.variables)
        same_type = single.type == half.type
        if not has_rounded_results(single, half) and not (shared and same_type):
            return 0, 0, 0
        constants = sum(
            fault_of_constant(a, b) is None
            for parameter in single.arguments.keys() & half.arguments.keys()
            for a, b in zip(single.arguments[parameter], half.arguments[parameter], strict=False)
            if isinstance(a, Value) and isinstance(b, Value)
        )
        return shared, int(same_type), constants if shared or same_type else 0
