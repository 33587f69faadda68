"""Every value that a saved file computes on one input: the contract of the taps, and their parent.

A tap (`tap_tflite`, `tap_mil`, `tap_executorch`) loads a file so that nothing in it is thrown
away, runs it once, and gives what each operator gave. Like all foreign runtimes it works in a
child process (`child.py`) with limits on time and memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..artifact import Arrays
from ..errors import UsageError
from ..runtimes.base import SessionRequest, ask_child


@dataclass(frozen=True)
class FileOperator:
    """An operator of the file with the tensors that it reads and writes, by key.

    Constants are not among `reads`. `place` says what runs it, where that is not the file itself:
    a delegate, a block of a conditional.
    """

    kind: str  # in the format's own words: CONV_2D, conv, Convolution
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    place: str = ""


@dataclass(frozen=True)
class FileTrace:
    """Operators in order of execution and the values of the tensors, by key.

    `names` are the tensors' own names in the file. `inputs` and `outputs` are the keys of the
    file's inputs and outputs, by the names that the manifest gives them.
    """

    runtime: str
    operators: tuple[FileOperator, ...]
    values: Mapping[str, NDArray[Any]]
    names: Mapping[str, str]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    def name(self, key: str) -> str:
        """What a report calls a tensor."""
        return self.names.get(key) or f"value {key}"


class Tap(Protocol):
    """What a module of a tap provides."""

    def trace(self, request: SessionRequest, inputs: Arrays) -> FileTrace: ...


TAPS = {  # by the module of `converters.runtimes` that runs the file otherwise
    "tflite": "tap_tflite",
    "mil": "tap_mil",
    "executorch": "tap_executorch",
    "executorch_coreml": "tap_executorch_coreml",
}


def trace_file(
    runtime: str,
    file: Path,
    arrays: Arrays,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    time_limit_s: float,
) -> FileTrace:
    """Every value of `file` on the inputs `arrays`, in a child process.

    `runtime` is the module of `converters.runtimes` that runs the file otherwise.
    Raises RuntimeFailure, UnverifiableError and MissingExtraError as `run_file` does.
    """
    with tempfile.TemporaryDirectory(prefix="mvkit-tap-") as folder:
        given, returned = Path(folder, "in.npz"), Path(folder, "out.npz")
        try:
            np.savez(given, allow_pickle=False, **arrays)
        except OSError as error:
            raise UsageError(f"cannot write to {folder}: {error.strerror or error}") from None
        request = {
            "tap": TAPS[runtime],
            "session": asdict(
                SessionRequest(str(file.resolve()), 1, tuple(inputs), tuple(outputs))
            ),
            "given": str(given),
            "returned": str(returned),
        }
        refusal = "its values cannot be looked at"
        answer = ask_child("converters.bisection.child", request, file, time_limit_s, refusal)
        return _read_trace(answer, returned)


def _read_trace(answer: Mapping[str, Any], returned: Path) -> FileTrace:
    import cattrs

    keys = answer["keys"]
    with np.load(returned, allow_pickle=False) as archive:
        values = {key: archive[f"{i}"] for i, key in enumerate(keys)}
    return FileTrace(
        runtime=answer["runtime"],
        operators=cattrs.structure(answer["operators"], tuple[FileOperator, ...]),
        values=values,
        names=answer["names"],
        inputs=answer["inputs"],
        outputs=answer["outputs"],
    )
