"""MobileNetV4: the published sizes, and timm's networks with the same weights."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from converters.errors import UsageError
from converters.loud import loud_weights_
from mobilevit_kit.models.mobile_mqa import MobileMqaBlock
from mobilevit_kit.models.mobilenetv4 import (
    VARIANTS,
    Conv,
    Fused,
    MobileNetV4,
    MobileNetV4Config,
    Mqa,
    Uib,
)
from tests.oracles import timm

# Side of the input, parameters with 1000 classes, millions of multiply-accumulates.
PUBLISHED = {
    "mobilenetv4_conv_small": (224, 3_774_024, 186),
    "mobilenetv4_conv_medium": (256, 9_715_512, 1080),
    "mobilenetv4_conv_large": (384, 32_590_864, 6376),
    "mobilenetv4_hybrid_medium": (256, 11_074_648, 1271),
    "mobilenetv4_hybrid_large": (384, 37_764_624, 7712),
}

SLOW = {"mobilenetv4_conv_large", "mobilenetv4_hybrid_large"}
NETWORKS = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in VARIANTS]

# Every kind of block, and little else.
TINY = MobileNetV4Config(
    stem_width=8,
    layer_scale=1e-5,
    stages=(
        (Fused(16),),
        (Uib(16, 3, 5, 2, stride=2), Uib(16, 3, 0, 2)),
        (Uib(24, 5, 0, 2, stride=2), Mqa(2, 8, kv_stride=2), Uib(24, 0, 3, 2)),
        (Uib(32, 0, 5, 2, stride=2), Mqa(4, 8), Uib(32, 0, 0, 2)),
        (Conv(48),),
    ),
    head_width=40,
)


@pytest.fixture
def explicit_attention():
    """The attention of timm as matrix products and a softmax, not the kernel that we call."""
    timm.layers.set_fused_attn(False)
    yield
    timm.layers.set_fused_attn(True)


def image(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def loud(config, side=96, **options):
    """In evaluation; `side` is that of the images from which batch norms have their statistics."""
    torch.manual_seed(0)
    network = MobileNetV4(config, **options).eval()
    return loud_weights_(network, example_inputs=(image(1, 3, side, side, seed=1),))


def error(ours, theirs):
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_and_macs_are_the_published_ones(name):
    side, parameters, macs = PUBLISHED[name]
    with torch.device("meta"):
        network = MobileNetV4(VARIANTS[name]).eval()
        x = torch.empty(1, 3, side, side)
    assert sum(p.numel() for p in network.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        network(x)
    assert round(counter.get_total_flops() / 2e6) == macs


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("mobilenetv4_hybrid_medium", {2: [4, 6, 8, 10], 3: [8, 10, 12, 14]}),
        ("mobilenetv4_hybrid_large", {2: [7, 9, 11, 13], 3: [10, 12, 14, 16]}),
    ],
)
def test_place_of_the_attention(name, places):
    with torch.device("meta"):
        network = MobileNetV4(VARIANTS[name])
    for i, stage in enumerate(network.blocks):
        found = [j for j, block in enumerate(stage) if isinstance(block, MobileMqaBlock)]
        assert found == places.get(i, [])


@torch.no_grad()
@pytest.mark.usefixtures("explicit_attention")
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_maps_are_those_of_timm(name):
    side = PUBLISHED[name][0]
    network = loud(VARIANTS[name], side)
    theirs = timm.create_model(name).eval()
    theirs.load_state_dict(network.state_dict(), strict=True)
    assert [(f.channels, f.stride) for f in network.feature_info] == [
        (f["num_chs"], f["reduction"]) for f in theirs.feature_info
    ]
    for height, width in ((side, side), (107, 160)):
        x = image(1, 3, height, width)
        last, maps = theirs.forward_intermediates(x)
        for ours, expected in zip(network.maps(x), maps, strict=True):
            assert error(ours, expected) <= 1e-5
        assert error(network(x), theirs.forward_head(last)) <= 1e-5


@torch.no_grad()
@pytest.mark.usefixtures("explicit_attention")
@pytest.mark.parametrize("name", ["mobilenetv4_conv_small", "mobilenetv4_hybrid_medium"])
def test_tensorflow_padding_and_epsilon_are_those_of_timm(name):
    config = dataclasses.replace(VARIANTS[name], padding="same", norm_eps=1e-3)
    network = loud(config)
    theirs = timm.create_model(name, pad_type="same", bn_eps=1e-3).eval()
    theirs.load_state_dict(network.state_dict(), strict=True)
    symmetric = MobileNetV4(VARIANTS[name]).eval()
    symmetric.load_state_dict(network.state_dict(), strict=True)
    for height, width in ((96, 64), (107, 75)):
        x = image(1, 3, height, width)
        assert error(network(x), theirs(x)) <= 1e-5
        assert error(symmetric(x), theirs(x)) > 1e-3


@torch.no_grad()
def test_one_wrong_scale_in_one_attention_shows():
    """The comparison with timm sees a fault in any single block."""
    network = loud(VARIANTS["mobilenetv4_hybrid_medium"], 160)
    x = image(1, 3, 160, 160)
    expected = network(x)
    blocks = [m for m in network.modules() if isinstance(m, MobileMqaBlock)]
    assert len(blocks) == 8
    for block in blocks:
        block.attn.scale *= 2
        assert error(network(x), expected) > 1e-4
        block.attn.scale /= 2


@torch.no_grad()
def test_features_only_gives_the_chosen_maps():
    whole = loud(TINY)
    x = image(2, 3, 64, 96)
    maps = list(whole.maps(x))
    assert [m.shape[1:] for m in maps] == [
        (8, 32, 48),
        (16, 16, 24),
        (16, 8, 12),
        (24, 4, 6),
        (48, 2, 3),
    ]
    backbone = MobileNetV4(TINY, features_only=True, out_indices=(1, -1)).eval()
    backbone.load_state_dict(
        {k: v for k, v in whole.state_dict().items() if k in backbone.state_dict()}, strict=True
    )
    assert not [k for k in backbone.state_dict() if k.startswith(("conv_head", "classifier"))]
    assert (backbone.feature_channels, backbone.feature_strides) == ((16, 48), (4, 32))
    for ours, expected in zip(backbone(x), (maps[1], maps[4]), strict=True):
        torch.testing.assert_close(ours, expected)
    with pytest.raises(UsageError, match="out_indices"):
        MobileNetV4(TINY, features_only=True, out_indices=(5,))


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 70), (224, 64)])
def test_classes_channels_and_sizes(height, width):
    x = image(2, 5, height, width)
    assert MobileNetV4(TINY, num_classes=7, in_channels=5).eval()(x).shape == (2, 7)
    assert MobileNetV4(TINY, num_classes=0, in_channels=5).eval()(x).shape == (2, 40)


@pytest.mark.parametrize("act", ["relu", "gelu"])
@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_training_reaches_every_weight(act, padding):
    config = dataclasses.replace(TINY, act=act, padding=padding)
    network = loud(config, num_classes=4, drop=0.1, drop_path=0.1).train()
    torch.manual_seed(0)
    network(image(8, 3, 64, 64)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_a_few_steps_from_its_own_start_learn():
    torch.manual_seed(0)
    network = MobileNetV4(TINY, num_classes=2).train()
    x, labels = image(16, 3, 32, 32), torch.arange(16) % 2
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(network(x), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_stochastic_depth_grows_to_the_last_residual_block():
    network = MobileNetV4(TINY, drop_path=0.2)
    rates = [b.drop_path.rate for stage in network.blocks for b in stage if hasattr(b, "drop_path")]
    assert rates == pytest.approx([0.2 * i / 7 for i in range(8)])


@torch.no_grad()
def test_stochastic_depth_leaves_the_shortcut():
    network = loud(TINY)
    _, _, third, (_, mqa, uib), _ = network.blocks
    torch.manual_seed(0)
    for block, width in ((third[2], 24), (mqa, 32), (uib, 32)):
        block.drop_path.rate = 0.5
        x = image(16, width, 4, 4)
        kept = [not torch.equal(a, b) for a, b in zip(block.train()(x), x, strict=True)]
        assert 0 < sum(kept) < 16


def test_initial_weights_are_scaled_by_the_fan_out_of_a_group():
    torch.manual_seed(0)
    network = MobileNetV4(VARIANTS["mobilenetv4_conv_small"])
    block = network.blocks[2][0]
    for conv, fan_out in ((block.dw_start.conv, 5 * 5), (block.pw_exp.conv, 192)):
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)


@torch.no_grad()
def test_dropout_acts_before_the_classifier_and_in_training_alone():
    network = loud(TINY, num_classes=0, drop=0.5)
    x = image(8, 3, 32, 32)
    whole = network(x)
    assert torch.equal(network(x), whole)
    network.drop.train()
    torch.manual_seed(0)
    dropped = network(x)
    kept = (dropped != 0)[whole != 0]
    assert 0.3 < kept.float().mean() < 0.7
    torch.testing.assert_close(dropped[dropped != 0], 2 * whole[dropped != 0])


@pytest.mark.slow
def test_captured_graphs():
    network = loud(dataclasses.replace(TINY, padding="same"), num_classes=4)
    x = image(1, 3, 64, 96)
    with torch.no_grad():
        expected = network(x)
        for graph in (
            torch.jit.trace(network, x),
            torch.export.export(network, (x,), strict=False).module(),
            torch.export.export(network, (x,), strict=True).module(),
            torch.compile(network, backend="aot_eager", fullgraph=True),
        ):
            assert error(graph(x), expected) <= 1e-6


@torch.no_grad()
def test_captured_features():
    backbone = loud(TINY, features_only=True)
    x = image(1, 3, 64, 64)
    graph = torch.export.export(backbone, (x,)).module()
    for ours, expected in zip(graph(x), backbone(x), strict=True):
        assert error(ours, expected) <= 1e-5


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 1e-2), (torch.bfloat16, 8e-2)])
def test_half_precisions_and_channels_last(dtype, bound):
    network = loud(TINY)
    x = image(2, 3, 64, 96)
    expected = network(x)
    assert error(network(x.to(memory_format=torch.channels_last)), expected) <= 1e-5
    with torch.autocast("cpu", dtype):
        assert error(network(x), expected) <= bound
    assert error(network.to(dtype)(x.to(dtype)).float(), expected) <= bound


def test_an_image_too_small_for_the_keys_is_refused():
    network = MobileNetV4(TINY).eval()
    with pytest.raises(UsageError, match="K/V stride 2 is larger than the map of 1x2"):
        network(image(1, 3, 16, 32))
