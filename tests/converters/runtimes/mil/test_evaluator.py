"""The evaluator as a whole: modes, watching, states, classifiers, and what it says of bad input."""

from __future__ import annotations

import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from converters.errors import ArtifactError, RuntimeFailure, UnverifiableError, UsageError
from converters.runtimes.mil import Evaluator
from converters.runtimes.mil.program import Operation
from tests.converters.handmade import assert_one_line
from tests.converters.runtimes.mil.programs import (
    ct,
    edit,
    main_block,
    mb,
    normal,
    save_program,
    types,
)

X = normal(2, 64, seed=1)


def test_a_program(small_package: Path) -> None:
    evaluator = Evaluator(small_package)
    (out,) = evaluator.run({"x": X}).values()
    wanted = np.maximum(X @ normal(4, 64).T, 0)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-5)
    assert dict(evaluator.operators) == {"const": 2, "linear": 1, "relu": 1}
    assert evaluator.unknown_operators == ()


def test_torch_is_imported_with_the_evaluator(small_package: Path) -> None:
    code = f"""
import sys
import converters.runtimes.mil as mil
assert "torch" not in sys.modules
from converters.runtimes.mil import Evaluator
assert "torch" in sys.modules and "coremltools" not in sys.modules
print(Evaluator({str(small_package)!r}).inputs[0].name)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "x\n"


@pytest.fixture
def half_package(tmp_path: Path) -> Path:
    """(x + 1) * weight in fp16; the sum rounds, the weight is what fp16 makes of it."""
    weight = np.array([0.1, 3000.0, 1.0], np.float16)

    def build(x: Any) -> Any:
        total = mb.add(x=x, y=np.float16(1), name="total")
        return mb.mul(x=total, y=weight, name="out")

    return save_program(build, {"x": ((3,), "fp16")}, tmp_path / "half.mlpackage")


def test_storage_rounds_every_value(half_package: Path) -> None:
    x = np.array([1e-4, 40.0, 0.3], np.float32)
    (out,) = Evaluator(half_package).run({"x": x}).values()
    half = x.astype(np.float16)
    weight = np.array([0.1, 3000.0, 1.0], np.float16)
    total = (half.astype(np.float32) + 1).astype(np.float16)
    with np.errstate(over="ignore"):
        wanted = (total.astype(np.float32) * weight).astype(np.float16)
    assert out.dtype == np.float16
    np.testing.assert_array_equal(out, wanted)
    assert np.isinf(out[1])


def test_exact_rounds_the_weights_alone(half_package: Path) -> None:
    x = np.array([1e-4, 40.0, 0.3], np.float32)
    (out,) = Evaluator(half_package, mode="exact").run({"x": x}).values()
    weight = np.array([0.1, 3000.0, 1.0], np.float16).astype(np.float64)
    assert out.dtype == np.float64
    np.testing.assert_allclose(out, (x.astype(np.float16).astype(np.float64) + 1) * weight)


@pytest.mark.parametrize("mode", ["storage", "exact"])
def test_the_first_overflow(half_package: Path, mode: Any) -> None:
    evaluator = Evaluator(half_package, mode)
    assert evaluator.first_overflow({"x": np.array([1, 2, 3], np.float16)}) is None
    found = evaluator.first_overflow({"x": np.array([1, 40, 3], np.float16)})
    assert found is not None and (found.operator, found.name) == ("mul", "out")
    assert found.largest == 41 * 3000
    assert evaluator.first_overflow({"x": np.array([1, 20.83, 3], np.float16)}) is None
    assert evaluator.first_overflow({"x": np.array([1, 20.85, 3], np.float16)}) is not None


def test_infinities_that_are_meant(tmp_path: Path) -> None:
    """A mask of -inf is no overflow; exp of a large number is one, and so is 0 / 0."""
    mask = np.array([0, -np.inf], np.float32)

    def build(x: Any) -> Any:
        masked = mb.add(x=mb.add(x=x, y=mask), y=0.0, name="masked")
        kept = mb.select(cond=np.array([True, False]), a=masked, b=0.0)
        return mb.real_div(x=mb.exp(x=kept, name="power"), y=kept, name="out")

    evaluator = Evaluator(save_program(build, {"x": ((2,), "fp32")}, tmp_path / "p.mlpackage"))
    found = evaluator.first_overflow({"x": np.array([1, 2], np.float32)})
    assert found is not None and found.name == "out" and found.operator == "real_div"
    found = evaluator.first_overflow({"x": np.array([12, 2], np.float32)})
    assert found is not None and found.name == "power"
    assert found.largest == pytest.approx(np.exp(12), rel=1e-6)


def test_watching(small_package: Path) -> None:
    seen: list[tuple[str, str, tuple[int, ...]]] = []

    def watch(operation: Operation, name: str, value: torch.Tensor) -> None:
        seen.append((operation.type, name, tuple(value.shape)))

    Evaluator(small_package).run({"x": X}, watch=watch)
    assert seen == [("linear", "product", (2, 4)), ("relu", "out", (2, 4))]


def test_values_die_with_their_last_reader(tmp_path: Path) -> None:
    """Along a chain of operators only two values live at a time."""

    def build(x: Any) -> Any:
        for _ in range(20):
            x = mb.add(x=x, y=1.0)
        return mb.reduce_sum(x=x, axes=[0], name="out")

    path = save_program(build, {"x": ((2**10,), "fp32")}, tmp_path / "p.mlpackage")
    seen: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def watch(operation: Operation, name: str, value: torch.Tensor) -> None:
        nonlocal most
        seen.append(weakref.ref(value))
        most = max(most, sum(one() is not None for one in seen))

    (total,) = Evaluator(path).run({"x": np.zeros(2**10, np.float32)}, watch=watch).values()
    assert (len(seen), total) == (21, 20 * 2**10)
    assert most == 2  # an operator's argument and its result


def test_results_are_the_caller_s_own(tmp_path: Path) -> None:
    path = save_program(
        lambda x: (mb.identity(x=x, name="same"), mb.identity(x=normal(3), name="constant")),
        {"x": ((3,), "fp32")}, tmp_path / "p.mlpackage",
    )  # fmt: skip
    evaluator, x = Evaluator(path), normal(3, seed=1)
    first = evaluator.run({"x": x})
    for array in first.values():
        array[:] = 0
    np.testing.assert_array_equal(x, normal(3, seed=1))
    np.testing.assert_array_equal(evaluator.run({"x": x})["constant"], normal(3))


@pytest.mark.parametrize("labels", [["cat", "dog", "bird"], [7, 8, 9]])
def test_classifiers(labels: list[Any], tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(-1)).eval()
    x = torch.from_numpy(normal(1, 4))
    path = tmp_path / "p.mlpackage"
    ct.convert(
        torch.jit.trace(module, x), inputs=[ct.TensorType(name="x", shape=x.shape)],
        classifier_config=ct.ClassifierConfig(labels), convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32, skip_model_load=True,
    ).save(str(path))  # fmt: skip
    with torch.no_grad():
        wanted = module(x).numpy()[0]
    label, probabilities = Evaluator(path).run({"x": x.numpy()}).values()
    assert label.shape == () and label.item() == labels[int(wanted.argmax())]
    np.testing.assert_allclose(probabilities, wanted, rtol=1e-5)


def test_states(tmp_path: Path) -> None:
    """A running sum, which one caller carries on and another begins anew."""

    def build(x: Any, total: Any) -> Any:
        after = mb.add(x=mb.read_state(input=total), y=x)
        return mb.mul(
            x=mb.coreml_update_state(state=total, value=after), y=np.float16(2), name="out"
        )

    state = mb.StateTensorSpec((2,), dtype=types.fp16)
    path = save_program(
        lambda x, total: build(x, total), {"x": ((2,), "fp16"), "total": state},
        tmp_path / "p.mlpackage", ct.target.iOS18,
    )  # fmt: skip
    evaluator = Evaluator(path)
    assert [feature.name for feature in evaluator.inputs] == ["x"]
    x = np.array([1, 2], np.float16)
    states: dict[str, np.ndarray] = {}
    for turn in (1, 2, 3):
        np.testing.assert_array_equal(evaluator.run({"x": x}, states=states)["out"], 2 * turn * x)
        np.testing.assert_array_equal(states["total"], turn * x)
    np.testing.assert_array_equal(evaluator.run({"x": x})["out"], 2 * x)


def test_several_functions(tmp_path: Path) -> None:
    for name, factor in (("double", 2.0), ("triple", 3.0)):
        save_program(
            lambda x, factor=factor: mb.mul(x=x, y=factor, name="out"), {"x": ((2,), "fp32")},
            tmp_path / f"{name}.mlpackage", ct.target.iOS18,
        )  # fmt: skip
    both = ct.utils.MultiFunctionDescriptor()
    for name in ("double", "triple"):
        both.add_function(str(tmp_path / f"{name}.mlpackage"), "main", name)
    both.default_function_name = "triple"
    path = tmp_path / "both.mlpackage"
    ct.utils.save_multifunction(both, str(path))
    x = np.array([1, 2], np.float32)
    for function, factor in (("double", 2), ("triple", 3), (None, 3)):
        (out,) = Evaluator(path, function=function).run({"x": x}).values()
        np.testing.assert_array_equal(out, factor * x)
    with pytest.raises(ArtifactError, match="has no function half, only double, triple"):
        Evaluator(path, function="half")


def test_inputs_that_do_not_fit(small_package: Path) -> None:
    evaluator = Evaluator(small_package)
    for inputs, said in (
        ({}, "its input x is missing"),
        ({"x": X, "y": X}, "has no input y"),
        ({"x": X.astype(np.int32)}, "its input x is float32, not int32"),
        ({"x": X[:1]}, r"its input x has the shape \[2, 64\], not \[1, 64\]"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            evaluator.run(inputs)
        assert_one_line(caught.value, str(small_package))


def relu(model: Any) -> Any:
    return main_block(model).operations[3]


def linear(model: Any) -> Any:
    return main_block(model).operations[2]


def with_parameter(model: Any) -> None:
    linear(model).inputs["gain"].CopyFrom(linear(model).inputs["x"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: setattr(relu(m), "type", "random_normal"), "random_normal"),
        (lambda m: setattr(relu(m), "type", "evil\x1b[2J\n" * 50), "evil"),
        (with_parameter, r"linear \(parameter gain\)"),
    ],
)
def test_unknown_operators(change: Callable[[Any], object], said: str, small_package: Path) -> None:
    evaluator = Evaluator(edit(small_package, change))
    assert len(evaluator.unknown_operators) == 1
    with pytest.raises(UnverifiableError, match=f"does not know the operator {said}") as caught:
        evaluator.run({"x": X})
    assert_one_line(caught.value, str(small_package))


def test_an_unknown_use_of_an_operator(tmp_path: Path) -> None:
    """Found when it runs: the element was never written."""

    def build(x: Any) -> Any:
        ls = mb.make_list(init_length=3, dynamic_length=False, elem_shape=(2,), dtype="fp32")
        return mb.add(x=x, y=mb.list_read(ls=mb.list_write(ls=ls, index=0, value=x), index=1))

    path = save_program(build, {"x": ((2,), "fp32")}, tmp_path / "p.mlpackage")
    with pytest.raises(UnverifiableError, match=r"the operator list_read \(of an element"):
        Evaluator(path).run({"x": normal(2)})


def dtype_of(variable: Any, dtype: int) -> None:
    variable.type.tensorType.dataType = dtype


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: dtype_of(relu(m).outputs[0], 23), r"operator relu \(out\): gives torch.float32"),
        (
            lambda m: setattr(
                relu(m).outputs[0].type.tensorType.dimensions[0].constant, "size", 3
            ),
            r"operator relu \(out\): gives the shape \[2, 4\] where \[3, 4\] is declared",
        ),
        (
            lambda m: linear(m).inputs["x"].arguments[0].CopyFrom(
                linear(m).inputs["bias"].arguments[0]),
            r"operator linear \(product\): RuntimeError",
        ),
    ],
)  # fmt: skip
def test_operators_that_cannot_be_computed(
    change: Callable[[Any], object], said: str, small_package: Path
) -> None:
    evaluator = Evaluator(edit(small_package, change))
    with pytest.raises(RuntimeFailure, match=said) as caught:
        evaluator.run({"x": X})
    assert_one_line(caught.value, str(small_package))
