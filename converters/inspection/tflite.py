"""The graph of a .tflite file, read from its flatbuffer."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ArtifactError, MissingExtraError, MvkitError, one_line
from .graph import Graph, Node, Tensor

_IDENTIFIER = b"TFL3"  # at byte 4 of every file
_LARGEST_RANK = 32
_ENUMS = {"padding": "Padding", "fusedActivationFunction": "ActivationFunctionType"}


def read_tflite(path: Path) -> Graph:
    """All subgraphs of the file as one graph; partitions are not in the file.

    Raises ArtifactError for what is no .tflite file or damaged, MissingExtraError without
    ai-edge-litert, whose package holds the schema.
    """
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise MissingExtraError("ai-edge-litert", "verify")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror or error}") from None
    if data[4:8] != _IDENTIFIER:
        raise ArtifactError(f"{path}: is not a .tflite file")
    try:
        return _Reader(data).graph()
    except MvkitError:
        raise
    except Exception as error:  # flatbuffers reads whatever offset it finds; each fails its own way
        reason = one_line(f"{type(error).__name__}: {error}", 80)
        raise ArtifactError(f"{path}: damaged: it cannot be read ({reason})") from None


class _Reader:
    """Flatbuffer tables to data.

    A damaged vector can claim any length, and many may share the same bytes: all that is read
    together must not be more than the file holds.
    """

    def __init__(self, data: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self._left = len(data)
        self._model = schema.Model.GetRootAs(data)
        self._builtins = _enum_names(schema.BuiltinOperator)
        self._dtypes = {
            number: name.lower() for number, name in _enum_names(schema.TensorType).items()
        }
        self._tensors: list[Tensor] = []
        self._nodes: list[Node] = []
        self._first_of_buffer: dict[int, int] = {}

    def graph(self) -> Graph:
        model = self._model
        names = [
            self._operator_name(model.OperatorCodes(i))
            for i in self._indices(model.OperatorCodesLength())
        ]
        ends: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
        for i in self._indices(model.SubgraphsLength()):
            subgraph = model.Subgraphs(i)
            first = len(self._tensors)
            for j in self._indices(subgraph.TensorsLength()):
                self._tensors.append(self._tensor(subgraph.Tensors(j)))
            scope = "" if i == 0 else self._text(subgraph.Name()) or f"subgraph {i}"
            for j in self._indices(subgraph.OperatorsLength()):
                self._nodes.append(self._node(subgraph.Operators(j), names, first, scope))
            if i == 0:
                ends = (
                    self._references(subgraph.InputsAsNumpy(), first),
                    self._references(subgraph.OutputsAsNumpy(), first),
                )
        if not self._nodes:
            raise ValueError("no operators")
        return Graph("TFLite", tuple(self._nodes), tuple(self._tensors), *ends)

    def _indices(self, length: int) -> range:
        self._spend(4 * length)
        return range(length)

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueError("its parts are larger than the file")

    def _text(self, value: bytes | None) -> str:
        self._spend(len(value or b""))
        return (value or b"").decode(errors="replace")

    def _operator_name(self, code: Any) -> str:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # old files have a byte
        return self._text(code.CustomCode()) or self._builtins[number]

    def _tensor(self, tensor: Any) -> Tensor:
        if max(tensor.ShapeLength(), tensor.ShapeSignatureLength()) > _LARGEST_RANK:
            raise ValueError("a tensor of too many axes")
        shape = [int(n) for n in self._numbers(tensor.ShapeAsNumpy())]
        signature = [int(n) for n in self._numbers(tensor.ShapeSignatureAsNumpy())]
        axes = signature if len(signature) == len(shape) else shape
        stored = self._stored(tensor)
        shared = None
        if stored is not None:
            shared = self._first_of_buffer.setdefault(tensor.Buffer(), len(self._tensors))
        return Tensor(
            name=self._text(tensor.Name()),
            dtype=self._dtypes[tensor.Type()],
            shape=tuple(n if n >= 0 else None for n in axes),
            constant=stored is not None,
            stored=stored,
            shared_with=None if shared == len(self._tensors) else shared,
        )

    def _stored(self, tensor: Any) -> int | None:
        """Bytes of a constant; None for what is computed. Large models keep them behind the end."""
        if tensor.IsVariable() or tensor.Buffer() == 0:  # the first buffer is always empty
            return None
        buffer = self._model.Buffers(tensor.Buffer())
        return buffer.DataLength() or (buffer.Size() if buffer.Size() > 1 else None)

    def _node(self, operator: Any, names: list[str], first: int, scope: str) -> Node:
        return Node(
            operator=names[operator.OpcodeIndex()],
            inputs=self._references(operator.InputsAsNumpy(), first),
            outputs=self._references(operator.OutputsAsNumpy(), first),
            attributes=dict(self._attributes(operator)),
            scope=scope,
        )

    def _attributes(self, operator: Any) -> Iterator[tuple[str, str]]:
        if not operator.BuiltinOptionsType() or operator.BuiltinOptions() is None:
            return
        options = self._schema.BuiltinOptionsCreator(
            operator.BuiltinOptionsType(), operator.BuiltinOptions()
        )
        for name, value in vars(options).items():
            if name in _ENUMS:
                yield name, _enum_names(getattr(self._schema, _ENUMS[name])).get(value, str(value))
            elif value is not None:
                yield name, one_line(value.tolist() if hasattr(value, "tolist") else value, 100)

    def _numbers(self, vector: Any) -> Any:
        """A vector of int32; the generated classes give 0 for one that is not there."""
        if isinstance(vector, int):
            return ()
        self._spend(4 * len(vector))
        return vector

    def _references(self, vector: Any, first: int) -> tuple[int, ...]:
        """Indices into the graph's tensors; an optional input that is absent is -1 in the file."""
        found = tuple(first + int(n) for n in self._numbers(vector) if n >= 0)
        if any(n >= len(self._tensors) for n in found):
            raise ValueError("an operator reads a tensor that is not there")
        return found


def _enum_names(enum: type) -> dict[int, str]:
    return {number: name for name, number in vars(enum).items() if not name.startswith("_")}
