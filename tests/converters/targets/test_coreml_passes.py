"""The passes without the check after each: the same file, and the checks at their ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from converters.artifact import digest_of
from converters.errors import ConversionError
from converters.recipe import Recipe
from converters.targets import coreml_passes
from tests.converters.targets.forms import save_module
from tests.networks import Classifier

pytestmark = pytest.mark.slow
EXAMPLE = torch.zeros(1, 3, 32, 48)


@contextlib.contextmanager
def as_ever() -> Iterator[None]:
    yield


def counted(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each check of a program that is made asks for the operators' origins."""
    from coremltools.converters.mil.mil import Program

    checks: list[bool] = []
    validate = Program.validate

    def count(self: Any, check_essential_scope: bool | None = False) -> None:
        checks.append(bool(check_essential_scope))
        validate(self, check_essential_scope=check_essential_scope)

    monkeypatch.setattr(Program, "validate", count)
    return checks


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_file_is_the_same(
    precision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, network = Recipe("coreml", precision), Classifier()
    checks = counted(monkeypatch)
    fast = save_module(network, EXAMPLE, tmp_path / "fast.mlpackage", recipe)
    few = len(checks)
    assert few > 5 and all(checks)
    monkeypatch.setattr(coreml_passes, "unwatched", as_ever)
    slow = save_module(network, EXAMPLE, tmp_path / "slow.mlpackage", recipe)
    assert len(checks) - few > 80  # or coremltools has mended it, and this can go
    assert digest_of(fast) == digest_of(slow)


def test_a_pass_that_breaks_the_program_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coremltools.converters.mil.mil import Program
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    validate, text = Program.validate, Program.__str__
    broken = type(PASS_REGISTRY["common::fuse_gelu_exact"])

    def apply(self: Any, program: Any) -> None:
        for function in program.functions.values():
            last = [o for o in function.operations if o.op_type != "const"][-1]
            last.outputs[0].child_ops.append(last)

    monkeypatch.setattr(broken, "apply", apply)
    with pytest.raises(ConversionError, match="should be consumed by op"):
        save_module(Classifier(), EXAMPLE, tmp_path / "n.mlpackage", Recipe("coreml"))
    assert Program.validate is validate and Program.__str__ is text


def test_compressed_weights_are_followed() -> None:
    import numpy as np
    from coremltools.converters.mil.mil import Builder as mb

    with coreml_passes.unwatched():

        @mb.program(input_specs=[mb.TensorSpec((1, 3))])
        def program(x: Any) -> Any:
            weights = mb.constexpr_affine_dequantize(
                quantized_data=np.ones((4, 3), np.uint8),
                zero_point=np.uint8(0),
                scale=np.float32(0.5),
                axis=np.int32(0),
            )
            return mb.linear(x=x, weight=mb.add(x=weights, y=np.float32(1)))

        function = program.functions["main"]
        total = function.find_ops(op_type="add")[0].outputs[0]
        assert len(total.nonreplaceable_vars_upstream) == 1
        # As a pass leaves a value that it has put in place of another.
        total._reset_nonreplaceable_vars_upstream()
        with function:
            pass
        assert len(total.nonreplaceable_vars_upstream) == 1
