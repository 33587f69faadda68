"""The graph of a .pte file, with what its delegates hold: XNNPACK's graphs and CoreML packages."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from ..errors import ArtifactError, MissingExtraError, one_line
from ..formats import coreml_payload, pte, xnnpack
from .coreml import read_coreml
from .graph import Graph, Node, Partition, Tensor

_XNNPACK_NAMES = {
    "fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "qint8": "int8", "qcint8": "int8",
    "qdint8": "int8", "qpint8": "int8", "quint8": "uint8", "qduint8": "uint8", "qcint4": "int4",
    "qbint4": "int4", "qint32": "int32", "qcint32": "int32",
}  # fmt: skip


def read_executorch(path: Path) -> Graph:
    """The first method's operators and those inside its delegates, then other methods'.

    The file stores no names of tensors. Raises ArtifactError for what is no .pte file or damaged,
    MissingExtraError without executorch, whose package holds the schema.
    """
    program = pte.read_pte(path)
    reader = _Reader(program)
    first, *others = program.methods
    inputs, outputs = reader.method(first, "")
    notes = []
    for method in others:
        reader.method(method, method.name)
    if others:
        notes.append(f"what stands outside delegates is counted for {one_line(first.name)} only")
    if reader.largest:
        notes.append(f"{reader.largest} tensors have flexible sizes; the largest ones are shown")
    return Graph(
        "ExecuTorch",
        tuple(reader.nodes),
        tuple(reader.tensors),
        inputs,
        outputs,
        tuple(reader.partitions),
        sum(first.planned_memory),
        tuple(notes),
    )


class _Reader:
    def __init__(self, program: pte.PteProgram) -> None:
        self.nodes: list[Node] = []
        self.tensors: list[Tensor] = []
        self.partitions: list[Partition] = []
        self.largest = 0  # tensors whose shape is only their largest
        self._program = program
        self._first_of_blob: dict[int, int] = {}

    def method(self, method: pte.Method, scope: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Adds a method's operators; gives its inputs and outputs."""
        names = {value: f"input {i}" for i, value in enumerate(method.inputs)}
        names |= {value: f"output {i}" for i, value in enumerate(method.outputs)}
        places = {}
        for number, value in enumerate(method.values):
            if isinstance(value, pte.Tensor):
                name = names.get(number, f"value {number}")
                places[number] = self._add(name, value.dtype, value.shape, value.constant)
                self.largest += value.is_dynamic
        for step in method.instructions:
            if step.kind in ("kernel", "move"):
                self._operator(method, step, places, scope)
            elif step.delegate is not None:
                delegate = method.delegates[step.delegate]
                self._delegate(delegate, self._found(step.arguments, places), step, places)
        ends = (method.inputs, method.outputs)
        inputs, outputs = (tuple(places[n] for n in values if n in places) for values in ends)
        return inputs, outputs

    def _operator(
        self, method: pte.Method, step: pte.Instruction, places: dict[int, int], scope: str
    ) -> None:
        attributes = {}
        for position, number in enumerate(step.arguments):
            shown = _shown(method, number)
            if shown is not None:
                attributes[f"argument {position}"] = shown
        reads, writes = self._found(step.reads, places), self._found(step.writes, places)
        self.nodes.append(Node(step.name, reads, writes, attributes, None, scope))

    def _delegate(
        self,
        delegate: pte.Delegate,
        arguments: tuple[int, ...],
        step: pte.Instruction,
        places: dict[int, int],
    ) -> None:
        partition = len(self.partitions)
        note = f"what the delegate {one_line(delegate.backend, 60)} holds is not shown"
        if delegate.backend == xnnpack.BACKEND:
            self._xnnpack(delegate, arguments, partition)
            note = ""
        elif delegate.backend == coreml_payload.BACKEND:
            try:
                self._coreml(delegate, arguments, partition)
                note = ""
            except MissingExtraError as error:
                note = f"not shown: {error}"
        if note:
            reads, writes = self._found(step.reads, places), self._found(step.writes, places)
            self.nodes.append(Node(delegate.backend, reads, writes, partition=partition))
        self.partitions.append(Partition(one_line(delegate.backend, 60), note))

    def _xnnpack(self, delegate: pte.Delegate, arguments: tuple[int, ...], partition: int) -> None:
        graph = xnnpack.read_xnnpack(self._program, delegate)
        places = self._joined((*graph.inputs, *graph.outputs), arguments)
        for number, tensor in graph.tensors.items():
            if number not in places:
                name = f"delegate {partition}, value {number}"
                dtype = _XNNPACK_NAMES.get(tensor.dtype, tensor.dtype)
                places[number] = self._add(name, dtype, tensor.shape, tensor.constant)
        for node in graph.nodes:
            self.nodes.append(
                Node(
                    node.type,
                    tuple(places[number] for number in node.operands.values()),
                    tuple(places[number] for number in node.results.values()),
                    {name: one_line(value, 100) for name, value in node.attributes.items()},
                    partition,
                )
            )

    def _coreml(self, delegate: pte.Delegate, arguments: tuple[int, ...], partition: int) -> None:
        """Adds a package's operators; its inputs and outputs are the delegate's arguments."""
        content = coreml_payload.read_coreml(self._program, delegate)
        graph = self._package(delegate)
        named = {graph.tensors[n].name: n for n in (*graph.inputs, *graph.outputs)}
        ends = tuple(named.get(name, -1) for name in (*content.inputs, *content.outputs))
        places = self._joined(ends, arguments)
        for number, tensor in enumerate(graph.tensors):
            if number not in places:
                places[number] = len(self.tensors)
                self.tensors.append(tensor)
        for node in graph.nodes:
            reads, writes = (tuple(places[n] for n in one) for one in (node.inputs, node.outputs))
            self.nodes.append(replace(node, inputs=reads, outputs=writes, partition=partition))

    def _package(self, delegate: pte.Delegate) -> Graph:
        method = pte.Method("", (), (), (), (), (delegate,), ())
        alone = replace(self._program, methods=(method,))
        with tempfile.TemporaryDirectory(prefix="mvkit-inspect-") as folder:
            (package,) = coreml_payload.extract_coreml(alone, Path(folder))
            try:
                return read_coreml(package)
            except ArtifactError as error:
                reason = error.message.replace(f"{folder}/0/", "")
        raise ArtifactError(f"{self._program.path}: its CoreML delegate: {reason}")

    def _joined(self, ends: tuple[int, ...], arguments: tuple[int, ...]) -> dict[int, int]:
        """A delegate's own inputs and outputs as the tensors that it is called with."""
        if len(ends) != len(arguments) or -1 in ends:
            raise ArtifactError(
                f"{self._program.path}: is damaged: a delegate is called with other tensors than "
                f"it has"
            )
        return dict(zip(ends, arguments, strict=True))

    def _add(self, name: str, dtype: str, shape: tuple[int, ...], constant: pte.Blob | None) -> int:
        here = len(self.tensors)
        shared = here
        if constant is not None:
            shared = self._first_of_blob.setdefault(constant.start, here)
        self.tensors.append(
            Tensor(
                name,
                dtype,
                shape,
                constant=constant is not None,
                stored=None if constant is None else len(constant.data),
                shared_with=None if shared == here else shared,
            )
        )
        return here

    @staticmethod
    def _found(numbers: tuple[int, ...], places: dict[int, int]) -> tuple[int, ...]:
        """The tensors among a method's values."""
        return tuple(places[number] for number in numbers if number in places)


def _shown(method: pte.Method, number: int) -> str | None:
    """An argument that is no tensor, as text."""
    value = method.values[number]
    if isinstance(value, str):
        return one_line(value, 100)
    if isinstance(value, pte.Number):
        return str(value.value)
    if not isinstance(value, pte.List) or "tensor" in value.kind:
        return None
    if value.kind == "int":  # its items are values in turn
        return one_line([_number(method, int(item)) for item in value.items], 100)
    return one_line(list(value.items), 100)


def _number(method: pte.Method, index: int) -> int | float | bool | None:
    value = method.values[index] if 0 <= index < len(method.values) else None
    return value.value if isinstance(value, pte.Number) else None
