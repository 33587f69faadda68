"""The two computations as graphs, walked backwards from a result that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .source_trace import SourceTrace
from .taps import FileTrace


@dataclass(frozen=True)
class FileRegion:
    """Part of a file's graph: operators by index, in order, and what they read from outside."""

    operators: tuple[int, ...]
    boundary: tuple[str, ...]


def file_region(
    trace: FileTrace, results: Iterable[str], stops: Callable[[str], bool]
) -> FileRegion:
    """All that `results` depend on, as far back as tensors at which to stop, by key."""
    producers = {key: i for i, op in enumerate(trace.operators) for key in op.writes}
    found: set[int] = set()
    boundary: dict[str, None] = {}
    waiting = list(results)
    seen = set(waiting)
    while waiting:
        index = producers.get(waiting.pop())
        if index is None or index in found:
            continue
        found.add(index)
        for key in trace.operators[index].reads:
            if key not in producers or stops(key):
                boundary[key] = None
            elif key not in seen:
                seen.add(key)
                waiting.append(key)
    return FileRegion(tuple(sorted(found)), tuple(boundary))


@dataclass(frozen=True)
class SourceRegion:
    """Part of a source's graph: values by index, in order, and what they are computed from."""

    values: tuple[int, ...]
    boundary: tuple[int, ...]


def source_region(
    trace: SourceTrace, results: Iterable[int], stops: Callable[[int], bool]
) -> SourceRegion:
    """All that `results` depend on, as far back as values at which to stop, by index."""
    found: set[int] = set(results)
    boundary: set[int] = set()
    waiting = list(found)
    while waiting:
        for index in trace.values[waiting.pop()].reads:
            if stops(index) or not trace.values[index].reads:
                boundary.add(index)
            elif index not in found:
                found.add(index)
                waiting.append(index)
    return SourceRegion(tuple(sorted(found)), tuple(sorted(boundary - found)))


def is_inside(path: str, module: str) -> bool:
    """Whether the module `path` is `module` or part of it; "" is the whole network."""
    return not module or path == module or path.startswith(f"{module}.")


def deepest_block(trace: SourceTrace, made: int, used: Iterable[Sequence[tuple[int, bool]]]) -> str:
    """The innermost module that makes a value from what it has been given or has made.

    Each of `used` are values, of which one must be within its sight; one marked as inner is only
    seen where it is made.
    """
    given: dict[str, set[int]] = {"": set()}
    returned: dict[str, set[int]] = {"": set()}
    for module in trace.modules:
        given.setdefault(module.path, set()).update(module.reads)
        returned.setdefault(module.path, set()).add(module.value)
    needed = list(used)

    def is_fitting(path: str) -> bool:
        makes = made in returned[path] or is_inside(trace.values[made].module, path)
        return makes and all(
            any(
                is_inside(trace.values[index].module, path) or (index in given[path] and not inner)
                for index, inner in one
            )
            for one in needed
        )

    return max(filter(is_fitting, given), key=lambda path: path.count(".") + bool(path), default="")
