"""Three hundred damaged packages: each gives one clear line, or is run as what it has become.

Damage to bytes reaches the reader of each part; damage to the model's message, which stays a
message, reaches the evaluator. Numbers among the weights may change without contradicting
anything: such a package gives other outputs, which a comparison with its source then sees.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.errors import RuntimeFailure
from converters.runtimes import base
from converters.runtimes.base import run_file
from tests.converters.handmade import assert_one_line
from tests.converters.runtimes.mil.judging import Judge, Judgement, judging
from tests.converters.runtimes.mil.programs import edit, main_block, mb, normal, save_program
from tests.converters.test_corrupt_files import mutations

pytestmark = pytest.mark.slow

FOLDER = Path("Data/com.apple.CoreML")
MODEL, WEIGHTS = FOLDER / "model.mlmodel", FOLDER / "weights/weight.bin"
INPUTS = {"x": normal(1, 3, 8, 8, seed=7)}
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convolution, normalisation, tile, fill, a branch, and a linear layer with a look-up table."""

    def build(x: Any) -> Any:
        x = mb.conv(x=x, weight=normal(4, 3, 3, 3), bias=normal(4), pad_type="same")
        x = mb.batch_norm(x=x, mean=normal(4), variance=normal(4) ** 2, gamma=normal(4, seed=1))
        x = mb.concat(values=(x, mb.fill(shape=[1, 2, 8, 8], value=0.5)), axis=1)
        x = mb.tile(x=mb.reduce_mean(x=x, axes=[2, 3]), reps=[1, 8])
        x = mb.cond(
            pred=mb.greater(x=mb.reduce_sum(x=x), y=0.0),
            _true_fn=lambda: mb.relu(x=x),
            _false_fn=lambda: mb.abs(x=x),
        )
        indices = np.random.default_rng(0).integers(0, 256, 64 * 48 // 2, np.uint8)
        weight = mb.constexpr_lut_to_dense(
            indices=indices, lut=normal(16), shape=np.array([64, 48], np.uint32)
        )
        x = mb.linear(x=x, weight=weight, bias=normal(64))
        return mb.softmax(x=mb.reshape(x=x, shape=[1, -1, 8]), axis=-1, name="out")

    folder = tmp_path_factory.mktemp("corrupt")
    return save_program(build, {"x": ((1, 3, 8, 8), "fp32")}, folder / "good.mlpackage")


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with judging() as found:
        yield found


@pytest.fixture(scope="module")
def outputs(good: Path, judge: Judge) -> dict[str, np.ndarray]:
    """Those of the good package."""
    judgement = judge(good, INPUTS)
    assert judgement.error is None, judgement.line
    return judgement.outputs


Judged = Callable[[Damage], str]


@pytest.fixture
def judged(good: Path, outputs: dict[str, np.ndarray], judge: Judge, tmp_path: Path) -> Judged:
    """What becomes of a copy that is damaged: "same", "other" or the name of an error."""
    count = 0

    def outcome(damage: Damage) -> str:
        nonlocal count
        count += 1
        path = Path(shutil.copytree(good, tmp_path / f"{count}.mlpackage"))
        damage(path)
        judgement = judge(path, INPUTS)
        return summary(judgement, outputs, path)

    return outcome


def summary(judgement: Judgement, outputs: dict[str, np.ndarray], path: Path) -> str:
    if judgement.error is None:
        same = judgement.outputs.keys() == outputs.keys() and all(
            np.array_equal(judgement.outputs[name], outputs[name]) for name in outputs
        )
        return "same" if same else "other"
    assert judgement.error in ("ArtifactError", "RuntimeFailure", "UnverifiableError", "UsageError")
    line = judgement.line
    assert line.isprintable() and len(line) < 700 and str(path) in line, line
    assert "Traceback" not in line and "AssertionError" not in line, line
    return judgement.error


def replaced(part: Path, data: bytes) -> Damage:
    return lambda path: (path / part).write_bytes(data)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("part", [MODEL, WEIGHTS, Path("Manifest.json")], ids=lambda p: p.name)
def test_damaged_bytes(part: Path, seed: int, good: Path, judged: Judged) -> None:
    """Thirty of each part and seed: 360."""
    damaged = mutations((good / part).read_bytes(), seed)
    assert len(damaged) == 30
    outcomes = Counter(judged(replaced(part, data)) for data in damaged)
    if part == WEIGHTS:
        assert outcomes["ArtifactError"] >= 5 and outcomes["other"] >= 5, outcomes
    else:
        assert outcomes["ArtifactError"] >= 10, outcomes


def messages(message: Any) -> list[Any]:
    """A message and all that it holds."""
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            children = [value[key] for key in sorted(value)] if hasattr(value, "items") else []
            children = [child for child in children if hasattr(child, "ListFields")]
        else:
            children = list(value) if field.is_repeated else [value]
        for child in children:
            found += messages(child)
    return found


NUMBERS = (0, 1, 2, -1, 3, 10, 13, 31, 34, 40, 64, 2**31 - 1, 2**40, 2**62)
NAMES = ("", "x", "out", "../x", "a\nb", "@model_path/../x", "conv", "tile", "classify")


def changed(rng: random.Random) -> Damage:
    """One field of one message: another number or name, or an element fewer or twice."""

    def change(model: Any) -> None:
        while True:
            message = rng.choice(messages(model.mlProgram) + messages(model.description))
            fields = [(f, v) for f, v in message.ListFields() if not is_map(f)]
            if not fields:
                continue
            field, value = rng.choice(fields)
            if field.is_repeated:
                if rng.random() < 0.5 or field.message_type is None:
                    del value[rng.randrange(len(value))]
                else:
                    value.append(rng.choice(value))
            elif field.message_type is not None:
                message.ClearField(field.name)
            else:
                choices = NAMES if isinstance(value, str) else NUMBERS
                try:
                    setattr(message, field.name, type(value)(rng.choice(choices)))
                except (ValueError, TypeError):
                    continue
            return

    return lambda path: edit(path, change)


def is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


@pytest.mark.parametrize("seed", range(4))
def test_programs_that_say_something_else(seed: int, judged: Judged) -> None:
    rng = random.Random(seed)
    outcomes = Counter(judged(changed(rng)) for _ in range(40))
    assert outcomes["ArtifactError"] + outcomes["RuntimeFailure"] >= 10, outcomes


def operation(model: Any, kind: str) -> Any:
    return next(one for one in main_block(model).operations if one.type == kind)


def constant(model: Any, name: str) -> Any:
    """The value of the constant of this name."""
    return next(
        one.attributes["val"]
        for one in main_block(model).operations
        if one.type == "const" and one.outputs[0].name == name
    )


def parameter(kind: str, name: str, *values: int) -> Damage:
    """Another constant for an integer parameter of an operator."""

    def change(model: Any) -> None:
        argument = operation(model, kind).inputs[name].arguments[0].name
        constant(model, argument).immediateValue.tensor.ints.values[:] = values

    return lambda path: edit(path, change)


def declared(kind: str, *sizes: int) -> Damage:
    def change(model: Any) -> None:
        dimensions = operation(model, kind).outputs[0].type.tensorType.dimensions
        for dimension, size in zip(dimensions, sizes, strict=False):
            dimension.constant.size = size

    return lambda path: edit(path, change)


def look_up_table_of(*sizes: int) -> Damage:
    """A weight of four bits that claims to be larger than its bytes."""

    def change(model: Any) -> None:
        value = operation(model, "constexpr_lut_to_dense").attributes["shape"]
        value.immediateValue.tensor.ints.values[:] = sizes

    return lambda path: edit(path, change)


def nested(depth: int) -> Damage:
    """Branches within branches, as bytes: no writer lets them nest so deep."""

    def change(path: Path) -> None:
        block = b""
        for _ in range(depth):
            inner = b"\x22" + _length(block) + block  # Operation.blocks
            block = b"\x1a" + _length(inner) + inner  # Block.operations
        for outer in (b"\x12", b"\x1a", b"\x12", b"\x12", b"\xb2\x1f"):
            block = outer + _length(block) + block
        (path / MODEL).write_bytes((path / MODEL).read_bytes() + block)

    return change


def _length(data: bytes) -> bytes:
    size, found = len(data), b""
    while size > 127:
        found += bytes([size & 127 | 128])
        size >>= 7
    return found + bytes([size])


def away(part: Path) -> Damage:
    def damage(path: Path) -> None:
        if (path / part).is_dir():
            shutil.rmtree(path / part)
        else:
            (path / part).unlink()

    return damage


def instead(part: Path, make: Callable[[Path], object]) -> Damage:
    """Something else in the place of a file."""
    return lambda path: ((path / part).unlink(), make(path / part))


def link(to: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(to)


SPECIAL: dict[str, Damage] = {
    "no manifest": away(Path("Manifest.json")),
    "no model": away(MODEL),
    "no weights": away(WEIGHTS),
    "no folder of weights": away(WEIGHTS.parent),
    "no data": away(Path("Data")),
    "folders for files": instead(MODEL, Path.mkdir),
    "folder for weights": instead(WEIGHTS, Path.mkdir),
    "pipe for manifest": instead(Path("Manifest.json"), os.mkfifo),
    "pipe for model": instead(MODEL, os.mkfifo),
    "pipe for weights": instead(WEIGHTS, os.mkfifo),
    "link to zeros": instead(MODEL, link("/dev/zero")),
    "link to itself": instead(WEIGHTS, link("weight.bin")),
    "link outside": instead(WEIGHTS, link("../../../../1.mlpackage/Manifest.json")),
    "hole of a terabyte": lambda path: os.truncate(path / WEIGHTS, 2**40),
    "model of a terabyte": lambda path: os.truncate(path / MODEL, 2**40),
    "huge fill": parameter("fill", "shape", 1, 2, 2**30, 2**30),
    "large fill": parameter("fill", "shape", 1, 2, 2**16, 2**16),
    "negative fill": parameter("fill", "shape", 1, -2, 8, 8),
    "huge tile": parameter("tile", "reps", 2**30, 2**30),
    "large tile": parameter("tile", "reps", 2**15, 2**15),
    "huge reshape": parameter("reshape", "shape", 2**30, 2**30, 2**30),
    "stride of zero": parameter("conv", "strides", 0, 0),
    "huge result": declared("conv", 2**40, 2**40),
    "huge weight": declared("const", 2**40, 2**40),
    "huge table": look_up_table_of(2**30, 2**30),
    "larger table": look_up_table_of(64, 4800),
    "empty table": look_up_table_of(0, 48),
    "nested": nested(40),
    "nested deeply": nested(5000),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_damage(name: str, judged: Judged) -> None:
    outcome = judged(SPECIAL[name])
    expected = {"nested": ("same", "ArtifactError")}.get(name, ("ArtifactError", "RuntimeFailure"))
    if name == "hole of a terabyte":  # some systems map it, and nothing behind the weights is read
        expected += ("same",)
    assert outcome in expected


@pytest.mark.parametrize("name", ["no weights", "pipe for model", "large fill", "nested deeply"])
def test_in_the_child_process(
    name: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "memory_limit", lambda: 2**30)
    path = Path(shutil.copytree(good, tmp_path / "damaged.mlpackage"))
    SPECIAL[name](path)
    with pytest.raises(RuntimeFailure) as caught:
        run_file("mil", path, [INPUTS], time_limit_s=30)
    assert_one_line(caught.value, str(path))
