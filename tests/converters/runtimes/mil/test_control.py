"""Control flow beside the same loops in Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.errors import ArtifactError, RuntimeFailure
from converters.runtimes.mil import Evaluator
from tests.converters.handmade import assert_one_line
from tests.converters.runtimes.mil.programs import edit, main_block, mb, save_program

Saved = Callable[..., Evaluator]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    def save(function: Callable[..., Any], **inputs: Any) -> Evaluator:
        return Evaluator(save_program(function, inputs, tmp_path / "program.mlpackage"))

    return save


def vector(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_cond(saved: Saved) -> None:
    """Two results; the branches read what stands outside, and one of them a constant."""

    def build(x: Any, pick: Any) -> Any:
        doubled = mb.mul(x=x, y=2.0)
        flag = mb.greater(x=mb.squeeze(x=pick), y=0.0)
        return mb.cond(
            pred=flag,
            _true_fn=lambda: (mb.add(x=doubled, y=1.0), mb.identity(x=x)),
            _false_fn=lambda: (mb.sub(x=x, y=doubled), mb.const(val=vector(7, 8))),
            name="out",
        )

    evaluator = saved(build, x=((2,), "fp32"), pick=((1,), "fp32"))
    taken = evaluator.run({"x": vector(3, 4), "pick": vector(1)})
    np.testing.assert_array_equal(list(taken.values()), [[7, 9], [3, 4]])
    other = evaluator.run({"x": vector(3, 4), "pick": vector(-1)})
    np.testing.assert_array_equal(list(other.values()), [[-3, -4], [7, 8]])


def test_nested_cond(saved: Saved) -> None:
    def build(x: Any) -> Any:
        def inner() -> Any:
            return mb.cond(
                pred=mb.greater(x=x, y=10.0),
                _true_fn=lambda: mb.mul(x=x, y=100.0),
                _false_fn=lambda: mb.mul(x=x, y=10.0),
            )

        positive = mb.greater(x=x, y=0.0)
        return mb.cond(pred=positive, _true_fn=inner, _false_fn=lambda: mb.abs(x=x), name="out")

    evaluator = saved(lambda x: build(mb.squeeze(x=x)), x=((1,), "fp32"))
    for x, wanted in ((11, 1100), (3, 30), (-5, 5)):
        assert evaluator.run({"x": vector(x)})["out"] == wanted


@pytest.mark.parametrize("start", [0, 3, 9, 10, 12])
def test_while_loop(saved: Saved, start: int) -> None:
    """Fibonacci numbers; no turn at all from 10 on."""

    def build(i: Any, a: Any) -> Any:
        turns, last, second = mb.while_loop(
            _cond=lambda i, a, b: mb.less(x=i, y=10),
            _body=lambda i, a, b: (mb.add(x=i, y=1), b, mb.add(x=a, y=b)),
            loop_vars=(mb.squeeze(x=i), a, mb.mul(x=a, y=1.0)),
        )
        return turns, last, second

    got = saved(build, i=((1,), "int32"), a=((2,), "fp32")).run(
        {"i": np.array([start], np.int32), "a": vector(1, 2)}
    )
    i, a, b = start, vector(1, 2), vector(1, 2)
    while i < 10:
        i, a, b = i + 1, b, a + b
    for one, wanted in zip(got.values(), (i, a, b), strict=True):
        np.testing.assert_array_equal(one, wanted)


def test_loops_in_loops(saved: Saved) -> None:
    """A sum over i below 4 and j below i of x * (i + j), with a branch in the inner loop."""

    def build(x: Any) -> Any:
        def inner(i: Any, total: Any) -> Any:
            def body(j: Any, part: Any) -> Any:
                factor = mb.cast(x=mb.add(x=i, y=j), dtype="fp32")
                step = mb.cond(
                    pred=mb.equal(x=j, y=2),
                    _true_fn=lambda: mb.mul(x=x, y=0.0),
                    _false_fn=lambda: mb.mul(x=x, y=factor),
                )
                return mb.add(x=j, y=1), mb.add(x=part, y=step)

            _, total = mb.while_loop(
                _cond=lambda j, part: mb.less(x=j, y=i), _body=body, loop_vars=(np.int32(0), total)
            )
            return mb.add(x=i, y=1), total

        _, total = mb.while_loop(
            _cond=lambda i, total: mb.less(x=i, y=4),
            _body=inner,
            loop_vars=(np.int32(0), mb.mul(x=x, y=0.0)),
        )
        return mb.identity(x=total, name="out")

    got = saved(build, x=((3,), "fp32")).run({"x": vector(1, 2, 3)})["out"]
    wanted = sum(vector(1, 2, 3) * (i + j) for i in range(4) for j in range(i) if j != 2)
    np.testing.assert_array_equal(got, wanted)


def test_a_loop_that_collects(saved: Saved) -> None:
    """Squares into a list, gathered in reverse."""

    def build(x: Any) -> Any:
        def body(i: Any, ls: Any) -> Any:
            row = mb.squeeze(x=mb.gather(x=x, indices=i, axis=0), axes=[0])
            return mb.add(x=i, y=1), mb.list_write(ls=ls, index=i, value=mb.square(x=row))

        empty = mb.make_list(init_length=4, dynamic_length=False, elem_shape=(2,), dtype="fp32")
        _, full = mb.while_loop(
            _cond=lambda i, ls: mb.less(x=i, y=4), _body=body, loop_vars=(np.int32(0), empty)
        )
        return mb.list_gather(ls=full, indices=np.array([3, 2, 1, 0], np.int32), name="out")

    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    got = saved(build, x=((4, 2), "fp32")).run({"x": x})["out"]
    np.testing.assert_array_equal(got, (x**2)[::-1])


def loop(path: Path) -> Path:
    return save_program(
        lambda x: mb.while_loop(
            _cond=lambda x: mb.less(x=mb.reduce_sum(x=x), y=10.0),
            _body=lambda x: mb.add(x=x, y=1.0),
            loop_vars=(x,),
        ),
        {"x": ((2,), "fp32")},
        path,
    )


def operation(model: Any) -> Any:
    (found,) = (one for one in main_block(model).operations if one.type == "while_loop")
    return found


DAMAGE: dict[str, Callable[[Any], object]] = {
    "no blocks": lambda model: operation(model).ClearField("blocks"),
    "one block": lambda model: operation(model).blocks.pop(),
    "no variables": lambda model: operation(model).inputs["loop_vars"].ClearField("arguments"),
    "too many": lambda model: operation(model).blocks[0].outputs.append("x"),
    "body": lambda model: operation(model).blocks[1].outputs.append("x"),
    "another input": lambda model: operation(model).inputs["x"].CopyFrom(
        operation(model).inputs["loop_vars"]),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_malformed_loops(name: str, tmp_path: Path) -> None:
    path = edit(loop(tmp_path / "loop.mlpackage"), DAMAGE[name])
    with pytest.raises(ArtifactError, match=r"operator while_loop \(.*\) is malformed") as caught:
        Evaluator(path)
    assert_one_line(caught.value, str(path))


def test_a_condition_that_is_no_scalar(tmp_path: Path) -> None:
    path = loop(tmp_path / "loop.mlpackage")

    def change(model: Any) -> None:
        operation(model).blocks[0].outputs[:] = [operation(model).blocks[0].inputs[0].name]

    with pytest.raises(RuntimeFailure, match="its condition is no scalar"):
        Evaluator(edit(path, change)).run({"x": vector(1, 2)})
