"""How a file is made: directly where that covers the network, with the same result either way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converters import Artifact, convert
from converters.errors import ConversionError
from converters.recipe import Recipe
from converters.runtimes.base import run_file
from converters.targets import target_named
from tests.converters.targets.forms import make_form
from tests.networks import FAMILIES

TARGETS = ("tflite", "executorch")
VENDORS = {"tflite": "litert", "executorch": "executorch"}


class Sorted(nn.Module):
    """What no emitter of the kit's covers: (B, N) -> (B, N)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x * 2, 1)


class Small(nn.Module):
    """A convolution, a batch norm, a layer norm: (B, 3, H, W) -> (B, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.tokens = nn.LayerNorm(8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.conv(x)))
        return self.fc(self.tokens(y.flatten(2).transpose(1, 2)).mean(1))


IMAGE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("target", TARGETS)
def test_a_covered_network_is_written_directly(target: str, tmp_path: Path) -> None:
    artifact = convert(Small(), IMAGE, target, output_dir=tmp_path, time_on_host=False)
    route, graph = artifact.manifest.route, artifact.manifest.graph
    assert artifact.parity.verdict == "pass"
    assert route is not None and (route.emitter, route.reason) == ("direct", None)
    assert artifact.manifest.rewrites["batch_norm"] == 1
    assert graph is not None and graph.partitions == 1 and graph.outside == {}


def test_an_export_knows_modules_and_spells_out_no_source_lines() -> None:
    calls = (
        make_form(Small(), IMAGE, Recipe("tflite"))
        .exported()
        .graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default)
    )
    assert [node.meta["nn_module_stack"] for node in calls if "stack_trace" not in node.meta]
    assert torch.fx.config.do_not_emit_stack_traces is False


@pytest.mark.parametrize("target", TARGETS)
def test_no_rewrite_is_applied_where_none_is_wanted(target: str, tmp_path: Path) -> None:
    recipe = Recipe(target, rewrites=())
    artifact = convert(Small(), IMAGE, recipe, output_dir=tmp_path, time_on_host=False)
    assert artifact.parity.verdict == "pass"
    assert artifact.manifest.rewrites == {}
    assert artifact.manifest.route is not None and artifact.manifest.route.emitter == "direct"


@pytest.mark.slow
def test_what_is_not_covered_falls_back_with_its_reason(tmp_path: Path) -> None:
    example = torch.rand(2, 5)
    artifact = convert(Sorted(), example, "tflite", output_dir=tmp_path, time_on_host=False)
    route = artifact.manifest.route
    assert artifact.parity.verdict == "pass"
    assert route is not None and route.emitter == "litert-torch"
    assert route.reason is not None and "cumsum" in route.reason


@pytest.mark.parametrize("target", TARGETS)
def test_the_direct_emitter_alone_refuses_it(target: str, tmp_path: Path) -> None:
    recipe = Recipe(target, emitter="direct")
    with pytest.raises(ConversionError, match=r"direct emitter does not cover .*cumsum"):
        convert(Sorted(), torch.rand(2, 5), recipe, output_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_both_emitters_give_the_same(
    family: str, target: str, converted: Callable[..., Artifact]
) -> None:
    direct = converted(family, target)
    vendor = converted(family, Recipe(target, emitter=VENDORS[target]))  # type: ignore[arg-type]
    for artifact, emitter in ((direct, "direct"), (vendor, None)):
        assert artifact.parity.verdict == "pass", artifact.parity.reason
        route = artifact.manifest.route
        assert route is not None and (route.emitter == "direct") == (emitter == "direct")
    cases = direct.golden()
    runs = [
        run_file(
            target_named(target).runtime(Recipe(target)),
            artifact.path,
            [case.inputs for case in cases],
            inputs=list(cases[0].inputs),
            outputs=list(cases[0].outputs),
        )
        for artifact in (direct, vendor)
    ]
    for mine, theirs in zip(runs[0].results, runs[1].results, strict=True):
        for name, expected in theirs.items():
            limit = 1e-5 * float(np.abs(expected).max())
            np.testing.assert_allclose(mine[name], expected, rtol=0, atol=limit)
