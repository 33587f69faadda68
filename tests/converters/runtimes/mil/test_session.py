"""The evaluator in the child process, as `mvkit verify` runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converters.errors import RuntimeFailure, UnverifiableError
from converters.runtimes import base
from converters.runtimes.base import Port, run_file
from tests.converters.handmade import assert_one_line
from tests.converters.runtimes.mil.programs import ct, edit, main_block, mb, normal, save_program

CASES = [{"x": normal(2, 64, seed=seed)} for seed in (1, 2)]


def test_a_package(small_package: Path) -> None:
    run = run_file("mil", small_package, CASES, timed_runs=2)
    assert run.runtime.startswith("MIL evaluator") and "estimate" in run.runtime
    assert run.inputs == (Port("x", (2, 64), "float32"),)
    assert run.outputs == (Port("out", (2, 4), "float32"),)
    assert dict(run.graph.operators) == {"linear": 1, "relu": 1}
    assert (run.graph.delegate, run.graph.partitions) == (None, None)
    assert run.latency is not None and run.latency.median_ms > 0
    for case, result in zip(CASES, run.results, strict=True):
        wanted = np.maximum(case["x"] @ normal(4, 64).T, 0)
        np.testing.assert_allclose(result["out"], wanted, rtol=1e-5, atol=1e-5)


def test_an_unknown_operator_is_unverifiable(small_package: Path) -> None:
    def change(model: object) -> None:
        main_block(model).operations[3].type = "random_normal"

    with pytest.raises(UnverifiableError, match="does not know the operator random_normal") as got:
        run_file("mil", edit(small_package, change), CASES)
    assert_one_line(got.value, str(small_package))


def test_a_damaged_package_is_refused(small_package: Path) -> None:
    (small_package / "Data/com.apple.CoreML/weights/weight.bin").write_bytes(b"\0" * 64)
    with pytest.raises(RuntimeFailure, match="is not a weight file") as caught:
        run_file("mil", small_package, CASES)
    assert_one_line(caught.value, str(small_package))


@pytest.mark.slow
def test_memory_and_time_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape from the input, so that nothing shows how much it will be; and a loop without end."""
    path = save_program(
        lambda n: mb.reduce_sum(x=mb.fill(shape=n, value=1.0), axes=[0, 1]),
        {"n": ((2,), "int32")}, tmp_path / "fill.mlpackage",
    )  # fmt: skip
    monkeypatch.setattr(base, "memory_limit", lambda: 2**30)
    small = run_file("mil", path, [{"n": np.array([3, 4], np.int32)}])
    assert next(iter(small.results[0].values())) == 12
    with pytest.raises(RuntimeFailure, match=r"operator fill \(.*\): RuntimeError") as caught:
        run_file("mil", path, [{"n": np.array([2**20, 2**20], np.int32)}])
    assert_one_line(caught.value, str(path))

    endless = save_program(
        lambda x: mb.while_loop(
            _cond=lambda x: mb.less(x=mb.reduce_min(x=x), y=1.0),
            _body=lambda x: mb.mul(x=x, y=1.0),
            loop_vars=(x,),
        ),
        {"x": ((2,), "fp32")}, tmp_path / "loop.mlpackage", ct.target.iOS16,
    )  # fmt: skip
    with pytest.raises(RuntimeFailure, match="did not finish within 4 s") as caught:
        run_file("mil", endless, [{"x": np.zeros(2, np.float32)}], time_limit_s=4)
    assert_one_line(caught.value, str(endless))
