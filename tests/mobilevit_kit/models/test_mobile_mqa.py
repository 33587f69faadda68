"""Mobile MQA against its definition, written below in plain TensorFlow operations."""

import copy
import functools
import inspect
import math

import numpy as np
import pytest
import tensorflow as tf
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from converters.errors import UsageError
from converters.loud import loud_weights_
from mobilevit_kit.models import mobile_mqa
from mobilevit_kit.models.mobile_mqa import (
    TENSORFLOW,
    MobileMqa,
    MobileMqaBlock,
    load_tensorflow,
    to_tensorflow,
)
from tests.oracles import timm

# (height, width), options: even, odd and non-square maps, every stride, both paddings.
CASES = {
    "plain": ((6, 4), {}),
    "plain_odd": ((5, 7), {"value_dim": 5}),
    "kv2": ((8, 6), {"kv_stride": 2, "value_dim": 5}),
    "kv2_odd": ((7, 5), {"kv_stride": 2}),
    "kv2_same": ((8, 6), {"kv_stride": 2, "value_dim": 11, "padding": "same"}),
    "kv2_same_odd": ((7, 4), {"kv_stride": 2, "padding": "same"}),
    "kv3_same": ((8, 7), {"kv_stride": 3, "padding": "same"}),
    "kv5_same": ((6, 9), {"kv_stride": 5, "padding": "same"}),
    "query": ((8, 6), {"query_strides": 2, "value_dim": 5}),
    "query_rows": ((9, 5), {"query_strides": (3, 1)}),
    "both": ((6, 8), {"query_strides": (1, 2), "kv_stride": 2, "value_dim": 12}),
    "both_same": ((6, 8), {"query_strides": (2, 4), "kv_stride": 2, "padding": "same"}),
    "tensorflow": ((8, 10), {"query_strides": 2, "kv_stride": 2, **TENSORFLOW}),
}
CHANNELS, HEADS, KEY_DIM = 12, 3, 8


def definition(layer: MobileMqa, weights: dict[str, np.ndarray], padding: str, x: np.ndarray):
    """Mobile MQA of a map (B, H, W, C); takes sizes, never weights, from the layer."""
    b, height, width, _ = x.shape
    qh, qw = layer.query_strides
    optimized = "_query_proj" not in weights

    def norm(t, name):
        stats = [weights[f"{name}/{k}"] for k in ("moving_mean", "moving_variance")]
        beta, gamma = weights[f"{name}/beta"], weights[f"{name}/gamma"]
        return tf.nn.batch_normalization(t, *stats, beta, gamma, layer.norm_eps)

    def shared(branch):
        t = x
        if layer.kv_stride > 1:
            if padding == "symmetric":
                t = tf.pad(t, [[0, 0], [1, 1], [1, 1], [0, 0]])
            strides = [1, layer.kv_stride, layer.kv_stride, 1]
            kernel = weights[f"_{branch}_dw_conv/depthwise_kernel"]
            mode = "VALID" if padding == "symmetric" else "SAME"
            t = tf.nn.depthwise_conv2d(t, kernel, strides, mode)
            t = norm(t, f"_{branch}_dw_norm")
        if optimized:
            t = tf.nn.conv2d(t, weights[f"_{branch}_proj/kernel"], 1, "VALID")
        else:
            t = tf.einsum("bhwc,cd->bhwd", t, weights[f"_{branch}_proj"])
        return tf.reshape(t, [b, -1, t.shape[-1]])

    q = x
    if (qh, qw) != (1, 1):
        q = tf.nn.avg_pool2d(q, (qh, qw), (qh, qw), "VALID")
        q = norm(q, "_query_downsampling_norm")
    if optimized:
        q = tf.nn.conv2d(q, weights["_query_proj/kernel"], 1, "VALID")
    else:
        q = tf.einsum("bhwc,nkc->bhwnk", q, weights["_query_proj"])
    q = tf.reshape(q, [b, -1, layer.heads, layer.key_dim])
    logits = tf.einsum("blhk,bmk->bhlm", q, shared("key")) / math.sqrt(layer.key_dim)
    y = tf.einsum("bhlm,bmv->blhv", tf.nn.softmax(logits, axis=-1), shared("value"))
    if not optimized:
        y = tf.einsum("blhv,chv->blc", y, weights["_output_proj"])
        return tf.reshape(y, x.shape).numpy()
    y = tf.reshape(y, [b, height // qh, width // qw, layer.heads * layer.value_dim])
    y = tf.image.resize(y, (height, width), "bilinear")
    return tf.nn.conv2d(y, weights["_output_proj/kernel"], 1, "VALID").numpy()


@functools.cache
def case(name):
    """The layer with loud weights, a map for it, and what the definition makes of the map."""
    (height, width), options = CASES[name]
    layer = build(MobileMqa, name)
    loud_weights_(layer)
    x = torch.randn(2, CHANNELS, height, width, generator=torch.Generator().manual_seed(0))
    padding = options.get("padding", "symmetric")
    y = definition(layer, to_tensorflow(layer), padding, x.permute(0, 2, 3, 1).numpy())
    return layer, x, torch.from_numpy(y).permute(0, 3, 1, 2)


def build(network, name):
    return network(CHANNELS, heads=HEADS, key_dim=KEY_DIM, **CASES[name][1]).eval()


@torch.no_grad()
def error(layer, x, expected):
    y = layer(x)
    assert y.shape == expected.shape
    return ((y - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_definition_in_tensorflow(name):
    assert error(*case(name)) <= 1e-5


def test_agrees_with_timm():
    for strides in ({}, {"kv_stride": 2}, {"query_strides": (2, 2), "kv_stride": 2}):
        sizes = {"key_dim": KEY_DIM, "value_dim": 5}
        ours = MobileMqa(CHANNELS, heads=HEADS, **sizes, **strides).eval()
        theirs = timm.layers.MultiQueryAttention2d(CHANNELS, num_heads=HEADS, **sizes, **strides)
        theirs.load_state_dict(loud_weights_(ours).state_dict(), strict=True)
        x = torch.randn(2, CHANNELS, 8, 6)
        assert error(ours, x, theirs.eval()(x).detach()) <= 1e-5


SCALE = "key_dim**-0.5"
ROWS = "q.permute(0, 2, 3, 1).reshape("
HEAD_MINOR = "q.reshape(b, self.key_dim, self.heads, -1).permute(0, 3, 2, 1).reshape("
CONTEXT = "y.reshape(b, h, w, self.heads * self.value_dim).permute(0, 3, 1, 2)"
NORM = "nn.BatchNorm2d(channels, norm_eps, norm_momentum)"
SDPA = "F.scaled_dot_product_attention(q, k, v, dropout_p=drop, scale=self.scale)"
POOL = "nn.AvgPool2d(query_strides)"
UPSAMPLE = 'mode="bilinear"'

# Versions in circulation, and others that are nearly right: what is replaced, by what.
MUTANTS = {
    "scale by 1/sqrt(kd/h)": (SCALE, "(key_dim / heads) ** -0.5"),
    "scale by 1/sqrt(vd)": (SCALE, "value_dim**-0.5"),
    "no scale": (SCALE, "1.0"),
    "raw view of q": (ROWS, "q.reshape("),
    "raw view of k": (
        "self.key(x).flatten(2).transpose(1, 2).unsqueeze(1)",
        "self.key(x).reshape(b, 1, -1, self.key_dim)",
    ),
    "raw view of v": (
        "self.value(x).flatten(2).transpose(1, 2).unsqueeze(1)",
        "self.value(x).reshape(b, 1, -1, self.value_dim)",
    ),
    "raw view of the context": (CONTEXT, "y.reshape(b, self.heads * self.value_dim, h, w)"),
    "height and width exchanged": (CONTEXT, "y.reshape(b, w, h, -1).permute(0, 3, 2, 1)"),
    "heads not major in q": (ROWS, HEAD_MINOR),
    "value_dim ignored": ("if value_dim is None:", "if True:"),
    "softmax over the queries": (SDPA, "(q @ k.transpose(2, 3) * self.scale).softmax(2) @ v"),
    "keys as values": ("v = self.value(x)", "v = self.value[-1](self.key[:-1](x))"),
    "padding ignored": ("groups=channels, padding=padding", "groups=channels"),
    "no BN after downsampling": (f"branch.norm = {NORM}", "branch.norm = nn.Identity()"),
    "no BN after pooling": (f"query.norm = {NORM}", "query.norm = nn.Identity()"),
    "epsilon ignored": (f"branch.norm = {NORM}", "branch.norm = nn.BatchNorm2d(channels)"),
    "activation after downsampling": ("branch.proj =", "branch.act = nn.ReLU(); branch.proj ="),
    "maximum pooling": (POOL, "nn.MaxPool2d(query_strides)"),
    "query strides exchanged": (POOL, "nn.AvgPool2d(query_strides[::-1])"),
    "nearest upsampling": (UPSAMPLE, 'mode="nearest"'),
    "corners aligned": (UPSAMPLE, 'mode="bilinear", align_corners=True'),
}


def mutant(original, replacement):
    """The layer's class with a piece of its source replaced."""
    source = inspect.getsource(MobileMqa)
    assert source.count(original) == 1
    namespace = dict(vars(mobile_mqa))
    exec(source.replace(original, replacement), namespace)
    return namespace["MobileMqa"]


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_versions_are_detected(name):
    wrong = mutant(*MUTANTS[name])
    worst = 0.0
    for key in CASES:
        layer, x, expected = case(key)
        try:
            other = build(wrong, key)
            other.load_state_dict(layer.state_dict(), strict=False)
            worst = max(worst, error(other, x, expected))
        except (RuntimeError, AssertionError):  # weights that do not fit, maps of another shape
            worst = math.inf
    assert worst > 1e-4


def dropped_context(network, drop):
    """What each query gathers from values that are all 1, under uniform attention to 16 keys."""
    layer = network(CHANNELS, heads=HEADS, key_dim=KEY_DIM, value_dim=5, attn_drop=drop).train()
    nn.init.zeros_(layer.query.proj.weight)
    nn.init.constant_(layer.value.proj.weight, 1 / CHANNELS)
    seen = []
    layer.output.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.manual_seed(0)
    layer(torch.ones(50, CHANNELS, 4, 4))
    return seen[0].detach().reshape(50, HEADS, 5, 16)


def drops_attention_weights(network):
    """Whether a dropout of 0.5 leaves to each query a sum of some of the weights, doubled."""
    context = dropped_context(network, 0.5)
    kept = context * 8  # each of the 16 weights is 1/16, doubled where it is kept
    whole = torch.allclose(kept, kept.round(), atol=1e-4)
    of_the_row = torch.allclose(context, context[:, :, :1], atol=1e-5)
    binomial = abs(context.mean() - 1) < 0.02 and abs(kept.var() - 16 / 4) < 0.3
    return bool(whole and of_the_row and binomial)


@pytest.mark.parametrize(
    "wrong",
    [
        "F.dropout(q @ k.transpose(2, 3) * self.scale, drop).softmax(-1) @ v",
        "F.dropout((q @ k.transpose(2, 3) * self.scale).softmax(-1) @ v, drop)",
        "F.scaled_dot_product_attention(q, k, v, scale=self.scale)",
    ],
)
def test_dropout_is_on_the_attention_weights(wrong):
    assert drops_attention_weights(MobileMqa)
    assert not drops_attention_weights(mutant(SDPA, wrong))
    torch.testing.assert_close(dropped_context(MobileMqa, 0.0), torch.ones(50, HEADS, 5, 16))


def test_dropout_ends_with_training():
    layer, x, _ = case("kv2")
    layer = copy.deepcopy(layer)
    layer.attn_drop = 0.9
    assert torch.equal(layer(x), layer(x))


@pytest.mark.parametrize("name", CASES)
def test_tensorflow_layout_round_trip(name):
    layer, x, expected = case(name)
    for optimized in (False, True) if name.startswith("plain") else (None, True):
        weights = to_tensorflow(layer, optimized=optimized)
        assert ("_query_proj" in weights) == (optimized is False)
        other = build(MobileMqa, name)
        load_tensorflow(other, weights)
        for key, value in layer.state_dict().items():
            assert torch.equal(other.state_dict()[key], value), key
        assert error(other, x, expected) <= 1e-5


def test_a_checkpoint_of_tensorflow_loads_as_it_is(tmp_path):
    layer, x, expected = case("tensorflow")
    root = tf.Module()
    for name, array in to_tensorflow(layer).items():
        owner, _, attribute = name.partition("/")
        if not hasattr(root, owner):
            setattr(root, owner, tf.Module())
        setattr(getattr(root, owner), attribute, tf.Variable(array))
    path = tf.train.Checkpoint(root).save(str(tmp_path / "layer"))
    reader = tf.train.load_checkpoint(path)
    saved = {
        n: reader.get_tensor(n)
        for n in reader.get_variable_to_shape_map()
        if not n.startswith(("save_counter", "_CHECKPOINTABLE"))
    }
    assert "_query_proj/kernel/.ATTRIBUTES/VARIABLE_VALUE" in saved
    other = build(MobileMqa, "tensorflow")
    load_tensorflow(other, saved)
    assert error(other, x, expected) <= 1e-5


def test_weights_that_do_not_fit_are_refused():
    layer = case("both")[0]
    weights = to_tensorflow(layer)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(UsageError, match="missing: _key_proj/kernel"):
        load_tensorflow(layer, {k: v for k, v in weights.items() if k != "_key_proj/kernel"})
    with pytest.raises(UsageError, match="no place for the weights _cpe_dw_conv/bias"):
        load_tensorflow(layer, weights | {"_cpe_dw_conv/bias": np.zeros(CHANNELS)})
    narrow = weights | {"_value_proj/kernel": np.zeros((1, 1, CHANNELS, 7))}
    with pytest.raises(UsageError, match=r"'_value_proj/kernel' has the shape \(1, 1, 12, 7\)"):
        load_tensorflow(layer, narrow)
    with pytest.raises(UsageError, match="has no strides"):
        to_tensorflow(layer, optimized=False)
    assert all(torch.equal(layer.state_dict()[k], v) for k, v in before.items())


@pytest.mark.parametrize("name", ["plain", "kv2", "both_same"])
def test_memory_formats_and_precisions(name):
    layer, x, expected = case(name)
    last = layer(x.to(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert error(layer, x.to(memory_format=torch.channels_last), expected) <= 1e-5
    for dtype, bound in ((torch.float16, 5e-3), (torch.bfloat16, 4e-2)):
        y = copy.deepcopy(layer).to(dtype)(x.to(dtype))
        assert y.dtype == dtype
        assert (y - expected).abs().max() / expected.abs().max() <= bound
        with torch.autocast("cpu", dtype):
            assert error(layer, x, expected) <= bound


@pytest.mark.parametrize("name", ["plain", "kv2", "both_same"])
@pytest.mark.parametrize("autocast", [False, True])
def test_training_reaches_every_weight(name, autocast):
    layer, x, _ = case(name)
    attention = copy.deepcopy(layer)
    attention.attn_drop = 0.1
    block = MobileMqaBlock(attention, drop_path=0.1).train()
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        block(x).square().mean().backward()
    for key, parameter in block.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, key


@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")  # no size check in the graph
@pytest.mark.parametrize("name", ["plain_odd", "kv2_same", "both_same"])
def test_captured_graphs(name):
    layer, x, _ = case(name)
    y = layer(x).detach()
    captured = [
        torch.jit.trace(layer, x),
        torch.export.export(layer, (x,), strict=False).module(),
        torch.export.export(layer, (x,), strict=True).module(),
        torch.compile(layer, backend="aot_eager", fullgraph=True),
    ]
    for graph in captured:
        assert error(graph, x, y) <= 1e-6


@pytest.mark.slow
def test_compiled_code():
    layer, x, expected = case("tensorflow")
    assert error(torch.compile(layer), x, expected) <= 1e-5


def test_a_graph_that_was_captured_holds_for_other_sizes():
    layer, x, _ = case("both_same")
    auto = torch.export.Dim.AUTO
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: auto, 2: auto, 3: auto},))
    other = torch.randn(3, CHANNELS, 10, 12)
    for graph in (program.module(), torch.jit.trace(layer, x)):
        assert error(graph, other, layer(other).detach()) <= 1e-6


def test_the_block_is_a_residual_branch():
    layer, x, _ = case("kv2")
    block = loud_weights_(MobileMqaBlock(copy.deepcopy(layer), scale=0.5)).eval()
    gamma = block.layer_scale.gamma.view(-1, 1, 1)
    torch.testing.assert_close(block(x), x + gamma * block.attn(block.norm(x)))
    assert block.norm.eps == layer.norm_eps
    bare = MobileMqaBlock(copy.deepcopy(layer), scale=None).eval()
    torch.testing.assert_close(bare(x), x + bare.attn(bare.norm(x)))


@pytest.mark.parametrize(
    ("kv_stride", "keys", "documented"), [(1, 256, "59.8 M without"), (2, 64, "30.9 M with s=2")]
)
def test_cost_is_as_the_docstring_says(kv_stride, keys, documented):
    layer = MobileMqa(160, heads=4, key_dim=64, kv_stride=kv_stride).to("meta")
    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(1, 160, 16, 16, device="meta"))
    formula = 2 * 256 * 160 * 4 * 64 + keys * 160 * 128 + 256 * keys * 4 * 128
    formula += 2 * 9 * keys * 160 if kv_stride > 1 else 0
    assert counter.get_total_flops() == 2 * formula
    assert documented.startswith(f"{formula / 1e6:.1f}")
    assert documented in " ".join(MobileMqa.__doc__.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 5}, "5 heads do not divide the width of 12 channels"),
        ({"heads": 0}, "heads of Mobile MQA must be 1 or more, not 0"),
        ({"heads": 3, "key_dim": 0}, "key_dim of Mobile MQA must be 1 or more, not 0"),
        ({"heads": 3, "value_dim": -1}, "value_dim of Mobile MQA must be 1 or more, not -1"),
        ({"heads": 3, "kv_stride": 0}, "kv_stride of Mobile MQA must be 1 or more, not 0"),
        ({"heads": 3, "query_strides": (2, 0)}, "query_strides of Mobile MQA must be 1 or more"),
        ({"heads": 3, "padding": "valid"}, "padding must be 'symmetric' or 'same', not 'valid'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        MobileMqa(CHANNELS, **options)


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"query_strides": (2, 3)}, (1, 12, 4, 4), "query strides 2x3 do not divide .* 4x4"),
        ({"kv_stride": 3}, (1, 12, 8, 2), "K/V stride 3 is larger than the map of 8x2"),
        ({}, (1, 10, 4, 4), r"needs a map \(B, 12, H, W\), not \(1, 10, 4, 4\)"),
        ({}, (12, 4, 4), r"needs a map \(B, 12, H, W\), not \(12, 4, 4\)"),
    ],
)
def test_maps_that_do_not_fit_are_refused(options, shape, message):
    with pytest.raises(UsageError, match=message):
        MobileMqa(CHANNELS, heads=HEADS, **options)(torch.zeros(shape))
