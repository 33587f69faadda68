"""The trace of a source is compared with what torch gives layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.bisection.source_trace import SourceTrace, replay_source, trace_source
from tests.converters.bisection.comparing import PLAIN_IMAGE, plain


def output_of(trace: SourceTrace, path: str) -> np.ndarray:
    (module,) = (one for one in trace.modules if one.path == path)
    return trace.values[module.value].array


def test_each_module_and_functional_call_is_seen() -> None:
    module = plain()
    trace = trace_source(module, [PLAIN_IMAGE], {})
    with torch.no_grad():
        first = module.first(PLAIN_IMAGE)
        norm = module.norm(module.second(torch.relu(first)))
        torch.testing.assert_close(torch.from_numpy(output_of(trace, "first")), first)
        torch.testing.assert_close(torch.from_numpy(output_of(trace, "norm")), norm)
        hardswish = F.hardswish(norm).numpy()
    called = next(value for value in trace.values if value.operator == "hardswish")
    np.testing.assert_allclose(called.array, hardswish, rtol=1e-6)
    assert called.module == ""
    assert [m.path for m in trace.modules] == [
        "first", "second", "norm", "mix.0", "mix.1", "mix.2", "mix", "last", "",
    ]  # fmt: skip


def test_an_activation_in_place_leaves_the_layer_before_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).eval()
    x = torch.randn(3, 4)
    trace = trace_source(network, [x], {})
    with torch.no_grad():
        before = network[0](x)
    assert (before < 0).any()
    np.testing.assert_allclose(output_of(trace, "0"), before.numpy(), rtol=1e-6)
    np.testing.assert_allclose(output_of(trace, "1"), before.relu().numpy(), rtol=1e-6)


def test_a_change_through_a_view_is_seen() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2
            y[:, :2].mul_(3)
            return y

    network = nn.Sequential(Half(), nn.Identity())
    x = torch.randn(2, 4)
    np.testing.assert_array_equal(
        output_of(trace_source(network, [x], {}), "0"), network(x).numpy()
    )


def test_values_say_what_they_were_computed_from() -> None:
    trace = trace_source(plain(), [PLAIN_IMAGE], {})
    product = next(value for value in trace.values if value.operator == "mul")
    operators = {trace.values[i].operator for i in product.reads}
    assert operators == {"add", "sigmoid"}


def test_fused_operators_give_their_steps() -> None:
    x = torch.randn(2, 5, 8)
    trace = trace_source(nn.Sequential(nn.LayerNorm(8), nn.SiLU(inplace=True)), [x], {})
    norm = next(value for value in trace.values if value.operator == "native_layer_norm")
    normalised = (x - x.mean(-1, keepdim=True)) / (x.var(-1, False, True) + 1e-5).sqrt()
    assert any(a.shape == x.shape and np.allclose(a, normalised, atol=1e-5) for a in norm.inner)
    silu = next(value for value in trace.values if value.operator == "silu_")
    sigmoid = torch.sigmoid(torch.from_numpy(norm.array)).numpy()
    assert any(np.allclose(a, sigmoid, atol=1e-6) for a in silu.inner)


def test_attention_is_taken_apart() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    trace = trace_source(layer, [torch.randn(1, 5, 8)], {})
    operators = [value.operator for value in trace.values]
    assert any("softmax" in operator for operator in operators)
    assert not any("encoder_layer" in operator for operator in operators)


@pytest.mark.parametrize(
    "operator", ["convolution", "relu", "native_batch_norm", "view", "gelu", "add", "mul", "mean"]
)
def test_a_replay_with_its_own_value_changes_nothing(operator: str) -> None:
    module = plain()
    trace = trace_source(module, [PLAIN_IMAGE], {})
    value = next(one for one in trace.values if one.operator == operator)
    assert value.step is not None
    same = replay_source(module, [PLAIN_IMAGE], {}, {value.step: value.array})
    torch.testing.assert_close(same, trace.result, rtol=0, atol=0)
    other = replay_source(module, [PLAIN_IMAGE], {}, {value.step: value.array * 1.5 + 1})
    assert not torch.equal(other, trace.result)


def test_a_traced_replay_computes_on_from_the_value() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).eval()
    x = torch.randn(3, 4)
    relu = next(v for v in trace_source(network, [x], {}).values if v.operator == "relu_")
    given = np.full((3, 4), 2, np.float32)
    trace = trace_source(network, [x], {}, replaced={relu.step: given})
    with torch.no_grad():
        torch.testing.assert_close(trace.result, network[2](torch.from_numpy(given)))
    np.testing.assert_array_equal(output_of(trace, "1"), given)
