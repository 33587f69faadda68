"""A `.pte` rewritten so that its runtime hands out every value: what a tap can look into.

The runtime that an app has runs the rewritten program too, with the same kernels on the same
weights. Two things change. Every tensor gets memory of its own, where memory planning lets them
overwrite each other, and becomes an output of the method. Every value inside an XNNPACK delegate
becomes an output of the delegate, which keeps XNNPACK from fusing a node with the one after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from executorch.exir import schema
from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary
from executorch.exir.scalar_type import ScalarType

from ..formats.xnnpack import BACKEND
from .exposed_xnnpack import ExposedDelegate, expose_delegate
from .taps import FileOperator

_ALIGNMENT = 16  # bytes: what executorch's own memory planning gives each tensor
_ITEM_SIZES = {"HALF": 2, "BFLOAT16": 2, "SHORT": 2, "INT": 4, "FLOAT": 4, "LONG": 8, "DOUBLE": 8}
_LARGEST = 2**34  # bytes of all values together


@dataclass(frozen=True)
class ExposedProgram:
    """The rewritten file. Tensors go by their index among the method's values, as a string.

    `outputs` are those that the method gives, in order; the first are its own outputs.
    """

    data: bytes
    operators: tuple[FileOperator, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def expose(file: bytes) -> ExposedProgram:
    """Rewrites the method `forward` of a program. Raises ValueError for one that branches."""
    pte = deserialize_pte_binary(file)
    (plan,) = (plan for plan in pte.program.execution_plan if plan.name == "forward")
    memory = _Memory(plan.values, plan.inputs)
    operators: list[FileOperator] = []
    for instruction in plan.chains[0].instructions:
        call = instruction.instr_args
        if isinstance(call, schema.JumpFalseCall | schema.MoveCall):
            raise ValueError("a program that branches cannot be taken apart")
        if isinstance(call, schema.KernelCall):
            operator = plan.operators[call.op_index]
            kind = operator.name + (f".{operator.overload}" if operator.overload else "")
            # The last argument is the result once more.
            writes = tuple(_tensors(call.args[-1:], plan.values))
            reads = [i for i in _tensors(call.args, plan.values) if i not in writes]
            operators.append(memory.call(kind, reads, writes))
        elif isinstance(call, schema.DelegateCall):
            delegate = plan.delegates[call.delegate_index]
            place = f"delegate {call.delegate_index}"
            if delegate.id != BACKEND:
                tensors = list(_tensors(call.args, plan.values))
                unwritten = [i for i in tensors if memory.is_unwritten(i)]
                reads = [i for i in tensors if i not in unwritten]
                operators.append(memory.call(delegate.id, reads, unwritten, place))
                continue
            blob = pte.program.backend_delegate_data[delegate.processed.index]
            exposed = expose_delegate(blob.data)
            blob.data = exposed.payload
            for dtype, shape in exposed.added:
                call.args.append(len(plan.values))
                plan.values.append(schema.EValue(_tensor(dtype, shape)))
            operators.extend(_inside(exposed, call.args, memory, place))
    plan.non_const_buffer_sizes = [0, memory.lay_out()]
    shown = dict.fromkeys(int(key) for operator in operators for key in operator.writes)
    plan.outputs = [*plan.outputs, *(i for i in shown if i not in plan.outputs)]
    data = bytes(serialize_pte_binary(pte, extract_delegate_segments=True))
    outputs = tuple(str(memory.root(i)) for i in plan.outputs)
    return ExposedProgram(data, tuple(operators), tuple(map(str, plan.inputs)), outputs)


def _inside(
    exposed: ExposedDelegate, arguments: Sequence[int], memory: _Memory, place: str
) -> Iterator[FileOperator]:
    """The nodes of a delegate whose call has these arguments."""
    indices = dict(zip(exposed.arguments, arguments, strict=True))
    for identity in exposed.arguments[: exposed.inputs]:
        indices[identity] = memory.read(indices[identity])
    for node in exposed.nodes:
        reads = [indices[i] for i in node.reads if i in indices]
        yield memory.call(
            node.kind, reads, [indices[i] for i in node.writes if i in indices], place
        )


@dataclass
class _Memory:
    """Who has written where: a view is a second tensor over the same bytes, and has no operator."""

    values: list[Any]
    inputs: Sequence[int]
    written: set[int] = field(default_factory=set)
    views: dict[int, int] = field(default_factory=dict)  # of a tensor, to the one it shows
    last: dict[tuple[int, int], int] = field(default_factory=dict)  # by (arena, offset)

    def __post_init__(self) -> None:
        for index in self.inputs:
            self._write(index)

    def call(
        self, kind: str, reads: Sequence[int], writes: Sequence[int], place: str = ""
    ) -> FileOperator:
        read = tuple(str(self.read(i)) for i in reads if self._is_planned(i))
        if kind == "executorch_prim::et_view.default":
            self.views[writes[0]] = self.read(reads[0])
        for index in writes:
            self._write(index)
        return FileOperator(kind, read, tuple(str(i) for i in writes), place)

    def read(self, index: int) -> int:
        """The tensor itself, or the one that it is a view of."""
        if self.is_unwritten(index):
            self.views[index] = self.last[self._place(index)]
        return self.root(index)

    def root(self, index: int) -> int:
        while index in self.views:
            index = self.views[index]
        return index

    def is_unwritten(self, index: int) -> bool:
        return self._is_planned(index) and index not in self.written and index not in self.views

    def lay_out(self) -> int:
        """Puts the tensors one behind the other; gives the bytes that they need in all."""
        end = 0
        for index in range(len(self.values)):
            if self._is_planned(index) and index not in self.views:
                tensor = self.values[index].val
                self._move(index, end)
                size = math.prod(tensor.sizes) * _ITEM_SIZES.get(tensor.scalar_type.name, 1)
                end += -(-size // _ALIGNMENT) * _ALIGNMENT
        for index in self.views:
            self.values[index].val.allocation_info = self.values[
                self.root(index)
            ].val.allocation_info
        if end > _LARGEST:
            raise ValueError("its values take too much memory")
        return end

    def _move(self, index: int, offset: int) -> None:
        details = schema.AllocationDetails(1, offset & 0xFFFFFFFF, offset >> 32)
        self.values[index].val.allocation_info = details

    def _write(self, index: int) -> None:
        self.written.add(index)
        if self._is_planned(index):
            self.last[self._place(index)] = index

    def _is_planned(self, index: int) -> bool:
        value = self.values[index].val
        return isinstance(value, schema.Tensor) and value.allocation_info is not None

    def _place(self, index: int) -> tuple[int, int]:
        where = self.values[index].val.allocation_info
        return where.memory_id, where.memory_offset


def _tensors(arguments: Sequence[int], values: Sequence[Any]) -> Iterator[int]:
    """Indices of the tensors among a call's arguments, those in lists too."""
    for i in arguments:
        value = values[i].val
        if isinstance(value, schema.Tensor):
            yield i
        elif isinstance(value, schema.TensorList):
            yield from value.items


def _tensor(dtype: str, shape: Sequence[int]) -> Any:
    return schema.Tensor(
        scalar_type=ScalarType[dtype],
        storage_offset=0,
        sizes=list(shape),
        dim_order=list(range(len(shape))),
        requires_grad=False,
        layout=0,
        data_buffer_idx=0,
        allocation_info=schema.AllocationDetails(0, 0, 0),
        shape_dynamism=schema.TensorShapeDynamism.DYNAMIC_BOUND,
    )
