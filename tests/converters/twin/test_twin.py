"""The fp16 twin check on sound packages, on rearranged ones and on those of other networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from converters.errors import ArtifactError
from converters.recipe import Recipe
from converters.twin import compare_files
from tests.converters.handmade import assert_one_line
from tests.converters.targets.forms import save_module
from tests.converters.twin.editing import Editor, edited
from tests.converters.twin.networks import FAMILIES, kinds, tiny

pytestmark = pytest.mark.slow
Twins = Mapping[str, Path]


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_families_are_sound(family: str, target: str, tmp_path: Path) -> None:
    module, image = tiny(family)
    files = [
        save_module(
            module,
            image,
            tmp_path / f"{precision}.mlpackage",
            Recipe("coreml", precision, minimum_deployment_target=target),
        )
        for precision in ("fp32", "fp16")
    ]
    assert compare_files(*files) == []
    assert compare_files(files[0], files[0]) == []
    assert compare_files(*reversed(files)) != []  # an fp32 file is no fp16 file, rounded


def rename(editor: Editor) -> None:
    """Every variable but inputs and outputs gets a name that says nothing."""
    kept = {*editor.block.outputs, *(one.name for one in editor.function.inputs)}
    names: dict[str, str] = {}
    for i, operation in enumerate(editor.block.operations):
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.name in names:
                    binding.name = names[binding.name]
        for j, output in enumerate(operation.outputs):
            if output.name not in kept:
                names[output.name] = output.name = f"v{i}_{j}"
    assert len(names) > 50


def reorder(editor: Editor) -> None:
    """Each operator as early as what it reads allows, the last ones first."""
    ready = {one.name for one in editor.function.inputs}
    waiting = list(editor.block.operations)
    ordered: list[Any] = []
    while waiting:
        for operation in reversed(waiting):
            reads = {b.name for a in operation.inputs.values() for b in a.arguments if b.name}
            if reads <= ready:
                break
        waiting.remove(operation)
        ordered.append(operation)
        ready |= {one.name for one in operation.outputs}
    assert [one.type for one in ordered] != [one.type for one in editor.block.operations]
    del editor.block.operations[:]
    editor.block.operations.extend(ordered)


def detour(editor: Editor) -> None:
    """A value goes through a cast to fp32 and back."""
    softmax, cast = editor.op("softmax"), editor.op("cast")
    rest = list(editor.block.operations)
    position = rest.index(softmax)
    rest = rest[position:]
    del editor.block.operations[position:]
    name = softmax.inputs["x"].arguments[0].name
    for dtype, code in (("fp32", 11), ("fp16", 10)):
        copy = editor.block.operations.add()
        copy.CopyFrom(cast)
        copy.inputs["x"].arguments[0].name = name
        editor.constant(copy, "dtype").immediateValue.tensor.strings.values[0] = dtype
        copy.outputs[0].name = name = f"to_{dtype}"
        copy.outputs[0].type.CopyFrom(softmax.outputs[0].type)
        copy.outputs[0].type.tensorType.dataType = code
    rest[0].inputs["x"].arguments[0].name = name
    editor.block.operations.extend(rest)


def put_constants_in_place(editor: Editor) -> None:
    for operation in editor.block.operations:
        for parameter, argument in operation.inputs.items():
            if len(argument.arguments) == 1 and parameter not in ("x", "y", "values"):
                editor.constant(operation, parameter)
    for operation in [one for one in editor.block.operations if one.type == "const"]:
        if not editor.readers(operation.outputs[0].name):
            editor.block.operations.remove(operation)
    assert len([one for one in editor.block.operations if one.type == "const"]) < 5


@pytest.mark.parametrize("change", [rename, reorder, detour, put_constants_in_place])
def test_what_means_the_same_is_no_difference(change: Any, twins: Twins, tmp_path: Path) -> None:
    assert compare_files(twins["fp32"], edited(twins["fp16"], tmp_path, change)) == []


def test_other_weights_throughout_are_reported_once_for_each_constant(
    twins: Twins, tmp_path: Path
) -> None:
    module = kinds()
    with torch.no_grad():
        module.q.weight.mul_(1.01)
        module.head.bias.add_(1)
    other = save_module(
        module, torch.zeros(1, 3, 16, 16), tmp_path / "o.mlpackage", Recipe("coreml", "fp16")
    )
    differences = compare_files(twins["fp32"], other)
    assert [one.operator.split()[0] for one in differences] == ["linear", "linear"]
    assert ["weight" in differences[0].what, "bias" in differences[1].what] == [True, True]


def test_another_network_gives_a_short_list(twins: Twins, tmp_path: Path) -> None:
    class Other(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            x = image
            for _ in range(60):
                x = torch.exp(torch.tanh(x))
            return {
                "logits": x.mean((2, 3)) @ torch.ones(3, 5),
                "pooled": torch.ones(1, 8) * x[0, 0, 0, :8],
            }

    other = save_module(
        Other(), torch.zeros(1, 3, 16, 16), tmp_path / "o.mlpackage", Recipe("coreml", "fp16")
    )
    differences = compare_files(twins["fp32"], other)
    assert 0 < len(differences) < 60


def test_a_damaged_package_is_one_line(twins: Twins, tmp_path: Path) -> None:
    def break_it(editor: Editor) -> None:
        editor.array(editor.op("conv"), "weight")
        editor.constant(editor.op("conv"), "weight").blobFileValue.offset += 64

    with pytest.raises(ArtifactError) as caught:
        compare_files(twins["fp32"], edited(twins["fp16"], tmp_path, break_it))
    assert_one_line(caught.value, "weight.bin")


class Picks(torch.nn.Module):
    """Whole numbers that coremltools would narrow to 16 bits from iOS17 on."""

    def forward(self, x: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values, places = x.topk(2, dim=1)
        return values * 2, places, x[:, ids].squeeze(0)


def test_whole_numbers_keep_their_type(tmp_path: Path) -> None:
    examples = torch.zeros(1, 9), torch.zeros(3, dtype=torch.int64)
    files = [
        save_module(
            Picks(),
            examples,
            tmp_path / f"{precision}.mlpackage",
            Recipe("coreml", precision, minimum_deployment_target="iOS17"),
        )
        for precision in ("fp32", "fp16")
    ]
    assert compare_files(*files) == []


def test_operators_inside_control_flow_are_compared(tmp_path: Path) -> None:
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb

    def save(precision: str, factor: float) -> Path:
        @mb.program(input_specs=[mb.TensorSpec(shape=(2, 3))], opset_version=ct.target.iOS16)
        def program(x: Any) -> Any:
            large = mb.greater(x=mb.reduce_sum(x=x, axes=[0, 1]), y=1.0)
            return mb.cond(
                pred=large,
                _true_fn=lambda: mb.mul(x=x, y=factor),
                _false_fn=lambda: mb.silu(x=x),
                name="result",
            )

        file = tmp_path / f"{precision}-{factor}.mlpackage"
        ct.convert(
            program,
            outputs=[ct.TensorType(name="result", dtype=np.float32)],
            inputs=[ct.TensorType(name="x", shape=(2, 3), dtype=np.float32)],
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=ct.precision(precision),
            package_dir=str(file),
            skip_model_load=True,
        )
        return file

    sound = save("float32", 0.3)
    assert compare_files(sound, save("float16", 0.3)) == []
    (difference,) = compare_files(sound, save("float16", 0.4))
    assert difference.operator.startswith("mul") and "y is" in difference.what
