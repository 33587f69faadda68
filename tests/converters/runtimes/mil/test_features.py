"""What a model's description declares: sizes, images, classes, defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.errors import ArtifactError, UsageError
from converters.runtimes.mil import Evaluator
from converters.runtimes.mil.features import Feature, read_features
from converters.runtimes.mil.package import open_package
from tests.converters.handmade import assert_one_line
from tests.converters.runtimes.mil.programs import ct, edit, mb, save_program


def saved(path: Path, shape: Any, spec: Any) -> Evaluator:
    return Evaluator(
        save_program(
            lambda x: mb.mul(x=x, y=2.0, name="out"), {"x": (shape, "fp32")}, path, ports=[spec]
        )
    )


def ones(*shape: int, dtype: str = "float32") -> dict[str, np.ndarray]:
    return {"x": np.ones(shape, dtype)}


def test_one_shape(tmp_path: Path) -> None:
    evaluator = saved(tmp_path / "p.mlpackage", (2, 3), ct.TensorType(name="x", shape=(2, 3)))
    assert evaluator.inputs == (Feature("x", "tensor", (2, 3), "float32"),)
    assert evaluator.outputs[0].name == "out"
    with pytest.raises(UsageError, match=r"input x has the shape \[2, 3\], not \[3, 2\]"):
        evaluator.run(ones(3, 2))


def test_a_range_of_shapes(tmp_path: Path) -> None:
    sizes = (ct.RangeDim(1, 4, default=2), ct.RangeDim(3, 900, default=5))
    symbols = tuple(size.symbol for size in sizes)
    evaluator = saved(tmp_path / "p.mlpackage", symbols, ct.TensorType(name="x", shape=sizes))
    (x,) = evaluator.inputs
    assert (x.shape, x.ranges) == ((2, 5), ((1, 4), (3, 900)))
    for shape in ((1, 3), (4, 900)):
        assert evaluator.run(ones(*shape))["out"].shape == shape
    for wrong in ((0, 3), (5, 3), (1, 2), (1, 901), (3,), (1, 3, 1)):
        with pytest.raises(UsageError, match=r"has the shape \[1..4, 3..900\]") as caught:
            evaluator.run(ones(*wrong))
        assert_one_line(caught.value, "p.mlpackage")


def test_enumerated_shapes(tmp_path: Path) -> None:
    free = (1, ct.RangeDim(1, 8).symbol)
    spec = ct.TensorType(name="x", shape=ct.EnumeratedShapes([(1, 2), (1, 5)], default=(1, 2)))
    evaluator = saved(tmp_path / "p.mlpackage", free, spec)
    assert evaluator.inputs[0].choices == ((1, 2), (1, 5))
    assert evaluator.run(ones(1, 5))["out"].shape == (1, 5)
    with pytest.raises(UsageError, match=r"\[1, 2\] or \[1, 5\], not \[1, 3\]"):
        evaluator.run(ones(1, 3))


@pytest.mark.parametrize(
    ("layout", "colour", "channels"),
    [("RGB", "RGB", 3), ("BGR", "BGR", 3), ("G", "GRAY", 1)],
)
def test_images(layout: str, colour: str, channels: int, tmp_path: Path) -> None:
    """The scale is part of the graph; the channels stay in the order that is declared."""
    layouts = {"RGB": ct.colorlayout.RGB, "BGR": ct.colorlayout.BGR, "G": ct.colorlayout.GRAYSCALE}
    shape = (1, channels, 2, 4)
    spec = ct.ImageType(name="x", shape=shape, scale=0.5, color_layout=layouts[layout])
    path = save_program(
        lambda x: mb.mul(x=x, y=2.0, name="out"), {"x": (shape, "fp32")},
        tmp_path / "p.mlpackage", ports=[spec],
    )  # fmt: skip
    evaluator = Evaluator(path)
    assert evaluator.inputs == (Feature("x", "image", shape, "uint8", colour),)
    photo = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(evaluator.run({"x": photo})["out"], 2 * (0.5 * photo))
    with pytest.raises(UsageError, match="input x is uint8, not float32"):
        evaluator.run({"x": photo.astype(np.float32)})


def test_enumerated_images(tmp_path: Path) -> None:
    free = (1, 3, ct.RangeDim(1, 9).symbol, ct.RangeDim(1, 9).symbol)
    shapes = ct.EnumeratedShapes([(1, 3, 2, 4), (1, 3, 6, 5)], default=(1, 3, 2, 4))
    spec = ct.ImageType(name="x", shape=shapes, color_layout=ct.colorlayout.RGB)
    evaluator = saved(tmp_path / "p.mlpackage", free, spec)
    assert evaluator.inputs[0].choices == ((1, 3, 2, 4), (1, 3, 6, 5))
    assert evaluator.run(ones(1, 3, 6, 5, dtype="uint8"))["out"].shape == (1, 3, 6, 5)
    with pytest.raises(UsageError, match="input x has the shape"):
        evaluator.run(ones(1, 3, 4, 2, dtype="uint8"))


def test_ranges_of_images() -> None:
    image = Feature(
        "x", "image", (1, 3, 8, 8), "uint8", "RGB", ranges=((1, 1), (3, 3), (8, 16), (8, None))
    )  # None: no upper bound
    assert image.accepts((1, 3, 8, 999)) and not image.accepts((1, 3, 7, 8))
    assert image.accepted() == "[1, 3, 8..16, 8..]"


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        (np.array([1, 2], np.int64), True),
        (np.array([1, 2**40], np.int64), False),
        (np.array([1.0, 2.0], np.float32), False),
        (np.array([True, False]), False),
        (np.array(["1", "2"]), False),
    ],
)
def test_integers(given: np.ndarray, fits: bool) -> None:
    feature = Feature("n", "tensor", (2,), "int32")
    if fits:
        assert feature.checked("f", given).dtype == np.int32
    else:
        with pytest.raises(UsageError, match="f: its input n is int32, not"):
            feature.checked("f", given)


def test_inputs_left_out() -> None:
    with pytest.raises(UsageError, match="f: its input n is missing"):
        Feature("n", "tensor", (2,), "float32").checked("f", None)
    optional = Feature("n", "tensor", (2,), "float32", default=0.5)
    np.testing.assert_array_equal(optional.checked("f", None), [0.5, 0.5])


def test_a_default_value(tmp_path: Path) -> None:
    spec = ct.TensorType(name="x", shape=(2,), default_value=np.array([3, 3], np.float32))
    evaluator = saved(tmp_path / "p.mlpackage", (2,), spec)
    np.testing.assert_array_equal(evaluator.run({})["out"], [6, 6])


def first_input(model: Any) -> Any:
    return model.description.input[0]


def test_a_description_that_is_damaged(small_package: Path) -> None:
    def unknown_type(model: Any) -> None:
        first_input(model).type.multiArrayType.dataType = 0

    path = edit(small_package, unknown_type)
    with pytest.raises(ArtifactError, match="the type of x is not known"):
        read_features(open_package(path))
    path = edit(path, lambda model: first_input(model).ClearField("type"))
    with pytest.raises(ArtifactError, match="the type of x is not known"):
        read_features(open_package(path))

    def twice(model: Any) -> None:
        first_input(model).type.multiArrayType.dataType = 65568
        model.description.input.append(model.description.input[0])

    with pytest.raises(ArtifactError, match="declares the same input or output twice"):
        read_features(open_package(edit(path, twice)))


@pytest.mark.parametrize("sizes", [(2**40,), (2**20, 2**20), (-1, 64), (1,) * 20])
def test_absurd_shapes(sizes: tuple[int, ...], small_package: Path) -> None:
    def change(model: Any) -> None:
        first_input(model).type.multiArrayType.shape[:] = sizes

    with pytest.raises(ArtifactError, match="x has the absurd shape") as caught:
        Evaluator(edit(small_package, change))
    assert_one_line(caught.value, str(small_package))
