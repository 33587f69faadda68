"""A source's rewritten form, in modules with the source's names."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from converters.artifact import GoldenCase
from converters.bisection.rewritten import rewritten_source
from converters.bisection.source_trace import trace_source
from converters.recipe import Recipe
from converters.rewrite import batch_norm
from tests.converters.bisection.comparing import PLAIN_IMAGE, case_for, interface_for, plain
from tests.networks import tiny_mobilevit

IMAGE = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
RECIPE = Recipe("tflite")


def staged(source: nn.Module, image: torch.Tensor) -> tuple[nn.Module, GoldenCase]:
    interface = interface_for(source, image)
    case = case_for(source, interface, image)
    return rewritten_source(source, interface, case, RECIPE).module, case


def test_it_is_called_as_the_source_is_and_gives_the_same() -> None:
    source = tiny_mobilevit().eval()
    found, _ = staged(source, IMAGE)
    assert found is not source
    with torch.no_grad():
        expected, given = source(IMAGE), found(IMAGE)
        exact = copy.deepcopy(found).double()(IMAGE.double())
    assert exact.dtype == torch.float64
    for one in (given, exact):
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_its_modules_have_the_source_s_names_and_classes() -> None:
    source = tiny_mobilevit().eval()
    found, _ = staged(source, IMAGE)
    with torch.no_grad():
        trace = trace_source(found, [IMAGE], {})
    kinds = {one.path: one.kind for one in trace.modules}
    own = {name: type(module).__name__ for name, module in source.named_modules()}
    assert len(kinds) > 60
    assert {name: kind for name, kind in kinds.items() if name and own[name] != kind} == {}
    assert {"stem.conv", "stages.2.1.transformer.0.attn", "final_conv"} <= kinds.keys()
    assert trace.value_of(trace.result) == len(trace.values) - 1
    operators = {value.operator for value in trace.values}
    assert not operators & {"_native_batch_norm_legit_no_training", "native_layer_norm"}


def test_a_wrong_rewrite_is_not_what_a_file_is_held_against(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = plain()
    assert staged(source, PLAIN_IMAGE)[0] is not source

    def wrong(network: object) -> int:
        count = original(network)  # type: ignore[arg-type]
        for node in network.graph.nodes:  # type: ignore[attr-defined]
            if node.op == "get_attr":
                network._constants[str(node.target)] *= 1.01  # type: ignore[attr-defined]
        return count

    original = batch_norm.apply
    monkeypatch.setattr(batch_norm, "apply", wrong)
    assert staged(source, PLAIN_IMAGE)[0] is source
