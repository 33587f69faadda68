"""The known answers once more: coremltools computes operators on constants while it builds.

Its builder folds them with NumPy. That is another reading of the reference, by those who wrote
it; where the two disagree one of them is wrong, and the table says which and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.converters.runtimes.mil.known import Case, narrowed
from tests.converters.runtimes.mil.programs import ct, mb
from tests.converters.runtimes.mil.test_ops_complete import cases

TARGETS = {
    "CoreML5": ct.target.iOS15,
    "CoreML6": ct.target.iOS16,
    "CoreML7": ct.target.iOS17,
    "CoreML8": ct.target.iOS18,
}

# What the builder folds to another value than the reference gives.
FOLDED_WRONGLY = {
    "concat": "interleave is left out",
    "scatter_along_axis": "every mode is taken for update",
    "topk": "k = -1 leaves out the last element instead of none",
}


def folded(case: Case) -> Any:
    """What the builder makes of a case in the oldest operator set that has it; None if nothing."""
    arguments = {name: _constant(value) for name, value in case.arguments.items()}
    for version, target in TARGETS.items():
        if case.op_set not in (None, version):
            continue
        results: list[Any] = []

        def build(
            arguments: Any = arguments, results: list[Any] = results, case: Case = case
        ) -> Any:
            made = getattr(mb, case.operator)(**arguments)
            results.append(made)
            return made

        try:
            mb.program(input_specs=[], opset_version=target)(lambda: build())
        except Exception:  # an operator or parameter that came later, or a failure to fold
            continue
        made = results[0]
        values = [one.val for one in (made if isinstance(made, list | tuple) else [made])]
        return None if any(value is None for value in values) else values
    return None


def _constant(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
        return tuple(_constant(one) for one in value)
    array = np.asarray(value)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype == np.int64:
        array = narrowed(array)
    return array if array.ndim else array[()]


def _opinions() -> Iterator[tuple[Case, bool]]:
    for case in cases():
        values = folded(case)
        if values is None:
            continue
        expected = case.expected if isinstance(case.expected, tuple) else (case.expected,)
        yield (
            case,
            len(values) == len(expected)
            and all(
                np.shape(value) == np.shape(wanted)
                and np.allclose(
                    np.asarray(value, dtype=float), np.asarray(wanted, dtype=float), 1e-5, 1e-5
                )
                for value, wanted in zip(values, expected, strict=True)
            ),
        )


def test_the_builder_of_coremltools_computes_the_known_answers() -> None:
    agreed: Counter[str] = Counter()
    disagreed: dict[str, list[str]] = {}
    for case, agrees in _opinions():
        if agrees:
            agreed[case.operator] += 1
        else:
            disagreed.setdefault(case.operator, []).append(str(case))
    assert set(disagreed) == set(FOLDED_WRONGLY), disagreed
    assert len(agreed) >= 80 and agreed.total() >= 200
