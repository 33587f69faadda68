"""From a saved file and its source to the block and the operator at which they part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from numpy.typing import NDArray

from .. import parity
from ..errors import UnverifiableError
from ..runtimes.base import TIME_LIMIT_S
from .align import Aligner, Layouts, relative_error
from .growth import GrowthRow, growth_table
from .locate import Comparison, Location, locate
from .rounding import with_rounding
from .source_trace import SourceTrace, replay_source, trace_source
from .taps import FileTrace, trace_file

if TYPE_CHECKING:
    from torch import nn

    from ..artifact import GoldenCase
    from ..deploy import Interface

# By precision: the error that a value of a sound file may have, as a multiple of the error that
# fp32 rounding makes at that value in the source. Over 1300 values of sound fp32 files it was at
# most 4.4; over 480 of fp16 ones, whose rounding is 2**13 times coarser, at most 0.96 of that.
NOISE = {"fp32": 8.0, "fp16": 2.0 * 2**13}

Status = Literal["sound", "rounding", "located", "guessed"]


@dataclass(frozen=True)
class NamedOperator:
    """An operator of the file: its place in the order of execution, type, and tensors' names.

    `place` is the delegate that runs it, "" for none.
    """

    index: int
    kind: str
    place: str
    result: str
    operands: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """The first place at which a file diverges.

    `block` is the innermost module of the source that covers the fault ("" is the network
    itself), `modules` those in it that compute what the file has not. `operator` is the first of
    the file's operators that is wrong; `suspects` are further ones of which one may be wrong in
    its stead. With `is_missing` the file has no operator for what the block does there, and
    `operator` is the one that reads the value as it is. `stands_for` is the source's operator
    whose result the file has wrong.
    """

    block: str
    block_kind: str
    modules: tuple[str, ...]
    operator: NamedOperator
    suspects: tuple[NamedOperator, ...]
    is_missing: bool
    stands_for: str | None


@dataclass(frozen=True)
class Bisection:
    """What comparing a file with its source value by value, on one input, showed.

    `status`:
    sound: the file's outputs are the source's, within the tolerance of its precision;
    rounding: they are not, but no output is further off than the source's own rounding explains;
    located: the fault was found, and the source with the file's one wrong value in the place of
    its own returns what the file returns;
    guessed: the fault is not before the place given, but no single wrong value proves it.
    """

    status: Status
    runtime: str
    case: str
    errors: Mapping[str, float]  # relative error of each output
    growth: tuple[GrowthRow, ...]
    fault: Fault | None = None


def bisect(
    file: Path,
    source: nn.Module,
    interface: Interface,
    case: GoldenCase,
    *,
    runtime: str,
    precision: str,
    layouts: Layouts | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> Bisection:
    """Compares all that `file` computes on a case with all that `source`, in eval mode, does.

    `case` holds the file's inputs and the source's outputs, `runtime` is the module of
    `converters.runtimes` that runs the file otherwise, `layouts` are orders in which it has values
    besides the usual ones. Raises what `trace_file` does.
    """
    tapped = trace_file(
        runtime,
        file,
        case.inputs,
        inputs=[one.spec.name for one in interface.inputs],
        outputs=list(case.outputs),
        time_limit_s=time_limit_s,
    )
    try:
        return compare(tapped, source, interface, case, precision=precision, layouts=layouts)
    except UnverifiableError as error:
        raise UnverifiableError(f"{file}: {error.message}") from None


def compare(
    tapped: FileTrace,
    source: nn.Module,
    interface: Interface,
    case: GoldenCase,
    *,
    precision: str,
    layouts: Layouts | None = None,
) -> Bisection:
    """Looks for the place at which what a file computed is no longer what its source computes."""
    args, kwargs = interface.source_arguments(case.inputs)
    with torch.no_grad():
        source(*args, **kwargs)  # what a source computes once and keeps is made now
    trace = trace_source(source, args, kwargs)
    indices = {
        name: trace.value_of(tensor)
        for name, tensor in interface.name_outputs(trace.result).items()
    }
    trace = with_rounding(trace, source, args, kwargs)
    noise = NOISE[precision]
    aligner = Aligner(trace.values, noise, layouts)
    matches = {key: aligner.matches(array) for key, array in tapped.values.items()}
    outputs = {name: tapped.values[key] for name, key in tapped.outputs.items()}
    errors = {name: relative_error(case.outputs[name], outputs[name]) for name in case.outputs}

    def result(status: Status, fault: Fault | None = None, *, growth: Any = None) -> Bisection:
        rows = growth_table(trace, tapped, matches, noise) if growth is None else growth
        return Bisection(status, tapped.runtime, case.name, errors, rows, fault)

    record = parity.judge([case], [outputs], precision=precision, runtime=tapped.runtime)
    if record.verdict != "fail":
        return result("sound")
    wrong = {}
    for name, index in indices.items():
        if index is not None and errors[name] > noise * trace.values[index].rounding:
            wrong[name] = _bound(errors[name], noise * trace.values[index].rounding)
    if not wrong:
        return result("rounding")

    def replay(replaced: Mapping[int, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        named = interface.name_outputs(replay_source(source, args, kwargs, replaced))
        return {name: tensor.numpy(force=True) for name, tensor in named.items()}

    def retrace(replaced: Mapping[int, NDArray[Any]]) -> SourceTrace:
        return trace_source(source, args, kwargs, replaced=replaced)

    known = {name: index for name, index in indices.items() if index is not None}
    compared = Comparison(trace, tapped, matches, wrong, known, aligner, replay, retrace)
    location = locate(compared)
    status: Status = "guessed"
    growth = None
    if location.counterpart is not None:
        status = "located"
        repaired = retrace(compared.replacement(location.counterpart))
        growth = growth_table(trace, tapped, matches, noise, repaired, layouts)
    return result(status, _fault(trace, tapped, location), growth=growth)


def _bound(error: float, noise: float) -> float:
    """The relative error up to which an output counts as explained, where it was `error`."""
    return min(max(error / 10, noise / 2), 3 * noise, error / 2)


def _fault(trace: SourceTrace, tapped: FileTrace, location: Location) -> Fault:
    kinds = {module.path: module.kind for module in trace.modules}
    stands_for = None
    if location.counterpart is not None:
        stands_for = trace.values[location.counterpart.value].operator
    return Fault(
        block=location.block,
        block_kind=kinds.get(location.block, ""),
        modules=location.modules,
        operator=_named(tapped, location.operator),
        suspects=tuple(_named(tapped, i) for i in location.suspects),
        is_missing=location.is_missing,
        stands_for=stands_for,
    )


def _named(tapped: FileTrace, index: int) -> NamedOperator:
    operator = tapped.operators[index]
    return NamedOperator(
        index=index,
        kind=operator.kind,
        place=operator.place,
        result=", ".join(tapped.name(key) for key in operator.writes),
        operands=tuple(tapped.name(key) for key in operator.reads),
    )
