"""Saved packages with one thing changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.runtimes.mil.package import open_package

_MODEL = "Data/com.apple.CoreML/model.mlmodel"
_WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


class Editor:
    """The main block of a package's copy at `path`, for changes in place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = open_package(path).model
        self.function = self.model.mlProgram.functions["main"]
        self.block = self.function.block_specializations[self.function.opset]

    def op(self, type_: str, which: int = 0) -> Any:
        """An operator by its type, counted from 0."""
        return [one for one in self.block.operations if one.type == type_][which]

    def readers(self, name: str) -> list[Any]:
        """The arguments, as messages, that name a variable."""
        return [
            binding
            for operation in self.block.operations
            for argument in operation.inputs.values()
            for binding in argument.arguments
            if binding.name == name
        ]

    def constant(self, operation: Any, parameter: str) -> Any:
        """The value, as a message, of a parameter; others that shared it keep their own copy."""
        (binding,) = operation.inputs[parameter].arguments
        if binding.WhichOneof("binding") == "name":
            source = next(
                one
                for one in self.block.operations
                if one.type == "const" and one.outputs[0].name == binding.name
            )
            binding.value.CopyFrom(source.attributes["val"])
        return binding.value

    def array(self, operation: Any, parameter: str) -> NDArray[Any]:
        """An fp16 constant for changes; `store` puts it back."""
        value = self.constant(operation, parameter)
        shape = [one.constant.size for one in value.type.tensorType.dimensions]
        if value.WhichOneof("value") == "blobFileValue":
            data = self._blob(value)
        else:
            data = np.frombuffer(value.immediateValue.tensor.bytes.values, np.float16)
        return data.reshape(shape).copy()

    def store(self, operation: Any, parameter: str, array: NDArray[Any]) -> None:
        value = self.constant(operation, parameter)
        if value.WhichOneof("value") == "blobFileValue":
            self._blob(value)[:] = array.ravel()
        else:
            value.immediateValue.tensor.bytes.values = array.astype(np.float16).tobytes()

    def _blob(self, value: Any) -> NDArray[Any]:
        """The numbers of a weight, mapped: what is written to them is in the file."""
        count = int(np.prod([one.constant.size for one in value.type.tensorType.dimensions]))
        file = self.path / _WEIGHTS
        start = int(np.fromfile(file, "<u8", 1, offset=value.blobFileValue.offset + 16)[0])
        return np.memmap(file, np.float16, "r+", start, (count,))

    def save(self) -> None:
        (self.path / _MODEL).write_bytes(self.model.SerializeToString())


def edited(package: Path, folder: Path, change: Callable[[Editor], None]) -> Path:
    """A copy of a package in `folder` after `change`."""
    copy = folder / package.name
    shutil.copytree(package, copy)
    editor = Editor(copy)
    change(editor)
    editor.save()
    return copy
