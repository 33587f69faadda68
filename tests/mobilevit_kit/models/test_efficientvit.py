"""EfficientViT: published sizes, timm's networks, biases that follow their tables, fusion."""

import copy
import dataclasses
import itertools
import pickle

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from converters.errors import UsageError
from converters.loud import loud_weights_
from mobilevit_kit.models.efficientvit import (
    VARIANTS,
    CascadedGroupAttention,
    EfficientVit,
    EfficientVitConfig,
    Residual,
    from_official,
    is_official,
    resize_biases,
)
from mobilevit_kit.models.layers import DropPath
from tests.oracles import timm

# Parameters with 1000 classes, millions of multiply-accumulates at 224x224.
PUBLISHED = {
    "efficientvit_m0": (2_349_436, 79),
    "efficientvit_m1": (2_980_560, 167),
    "efficientvit_m2": (4_187_554, 201),
    "efficientvit_m3": (6_900_722, 263),
    "efficientvit_m4": (8_804_228, 299),
    "efficientvit_m5": (12_473_772, 522),
}

# Three windows (7, 4 and 2), a first map of 8x8 that needs padding, and little to compute.
TINY = EfficientVitConfig(
    (16, 32, 48), (1, 1, 1), heads=(2, 4, 3), kernels=(5, 3, 3, 7), key_dim=4, image_size=128
)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def image(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def loud(model):
    """Loud weights, and each norm's statistics at the scale of what reaches it, in eval mode.

    Without the latter the branches would add up to activations that drown the attention's bias.
    """
    loud_weights_(model)

    def rescale(norm, inputs):
        norm.running_mean.mul_(inputs[0].std()).add_(inputs[0].mean())
        norm.running_var.mul_(inputs[0].var())

    norms = [m for m in model.modules() if isinstance(m, NORMS)]
    hooks = [norm.register_forward_pre_hook(rescale) for norm in norms]
    model.eval()(image(1, next(model.parameters()).shape[1], 224, 224, seed=9))
    for hook in hooks:
        hook.remove()
    return model


def tiny(**options):
    return loud(EfficientVit(TINY, num_classes=10, **options))


def relative_error(actual, reference):
    assert actual.shape == reference.shape
    return float((actual - reference).abs().max() / reference.abs().max())


# The published networks


@pytest.mark.parametrize("name", VARIANTS)
def test_has_the_published_size(name):
    with torch.device("meta"):
        model = EfficientVit(VARIANTS[name]).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 224, 224))
    parameters = sum(p.numel() for p in model.parameters())
    assert (parameters, round(counter.get_total_flops() / 2e6)) == PUBLISHED[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_equals_timm(name):
    model = loud(EfficientVit(VARIANTS[name]))
    oracle = timm.create_model(name).eval()
    oracle.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(oracle.state_dict(), strict=True)
    with torch.no_grad():
        for batch in (image(2, 3, 224, 224), image(1, 3, 256, 160)):
            deepest, maps = oracle.forward_intermediates(batch)
            for actual, expected in zip(model.maps(batch), maps, strict=True):
                assert relative_error(actual, expected) <= 1e-5
            logits = oracle.forward_head(deepest)
            assert relative_error(model(batch), logits) <= 1e-5
    assert logits.std() > 0.1  # and not zero beside zero


@pytest.mark.parametrize("size", [128, 448])
def test_windows_fitted_to_another_size_equal_timm(size):
    source = loud(EfficientVit(VARIANTS["efficientvit_m0"]))
    config = dataclasses.replace(source.config, image_size=size)
    model = EfficientVit(config).eval()
    model.load_state_dict(resize_biases(source.state_dict(), config), strict=True)
    oracle = timm.create_model("efficientvit_m0").eval()
    oracle.load_state_dict(source.state_dict())
    oracle.set_input_size(size)
    batch = image(1, 3, size, size)
    with torch.no_grad():
        assert relative_error(model(batch), oracle(batch)) <= 1e-5
        assert relative_error(model(batch), source(batch)) > 1e-3


def test_resized_tables_keep_their_type_and_others_their_values():
    state = tiny().half().state_dict()
    grown = resize_biases(state, dataclasses.replace(TINY, image_size=448))
    changed = {k: v for k, v in grown.items() if v is not state[k]}
    assert {tuple(t.shape) for t in changed.values()} == {(4, 49), (3, 49)}
    assert all(k.endswith("biases") and v.dtype == torch.half for k, v in changed.items())


def test_windows_are_no_larger_than_the_maps():
    sides = {448: (7, 7, 7), 224: (7, 7, 4), 100: (7, 4, 2), 1: (1, 1, 1)}
    assert {s: dataclasses.replace(TINY, image_size=s).windows for s in sides} == sides


def test_residual_branches_start_as_nothing():
    model, oracle = EfficientVit(VARIANTS["efficientvit_m0"]), timm.create_model("efficientvit_m0")
    pairs = zip(model.named_parameters(), oracle.named_parameters(), strict=True)
    assert all(ours.any() == theirs.any() for (_, ours), (_, theirs) in pairs)
    block, x = model.stages[2].blocks[0].eval(), image(1, 192, 4, 4)
    assert torch.equal(block(x), x)


# The relative bias


def test_bias_depends_on_the_distance_of_two_pixels():
    attn = loud_weights_(CascadedGroupAttention(TINY, 1))
    s = attn.window
    table = attn.attention_biases.detach().reshape(attn.heads, s, s)
    pixels = list(itertools.product(range(s), range(s)))
    for head, bias in enumerate(attn.biases()):
        for (i, (y1, x1)), (j, (y2, x2)) in itertools.product(enumerate(pixels), repeat=2):
            assert bias[i, j] == table[head, abs(y1 - y2), abs(x1 - x2)]


STEPS = {
    "load": lambda net, state: net.load_state_dict(state) and net,
    "assign": lambda net, state: net.load_state_dict(state, assign=True) and net,
    "eval": lambda net, _: net.train().eval(),
    "half": lambda net, _: net.half(),
    "double": lambda net, _: net.to("cpu", torch.float64),
    "deepcopy": lambda net, _: copy.deepcopy(net),
    "pickle": lambda net, _: pickle.loads(pickle.dumps(net)),
}


@pytest.mark.parametrize(("load", "cast"), [("load", "half"), ("assign", "double")])
def test_bias_is_never_stale(load, cast):
    """Whatever happens in whatever order, the bias is that of the table loaded last."""
    one_head = dataclasses.replace(TINY, heads=(1, 1, 1))
    attn = loud_weights_(CascadedGroupAttention(one_head, 1)).eval()
    state = attn.state_dict() | {"attention_biases": image(1, 16)}
    x = image(2, 32, 4, 4)
    fresh = copy.deepcopy(attn)
    fresh.load_state_dict(state)
    with torch.no_grad():
        before, expected = attn(x), fresh(x)
        for order in itertools.permutations((load, cast, "eval", "deepcopy", "pickle")):
            net = copy.deepcopy(attn)
            for step in order:
                net(x.to(net.attention_biases.dtype))  # whatever is remembered, is so now
                net = STEPS[step](net, {k: v.clone() for k, v in state.items()})
            dtype = net.attention_biases.dtype
            assert {bias.dtype for bias in net.biases()} == {dtype}
            after = net(x.to(dtype)).float()
            assert relative_error(after, expected) <= 2e-3 < relative_error(after, before), order


def test_bias_follows_its_table_in_eval_mode():
    attn = loud_weights_(CascadedGroupAttention(TINY, 1)).eval()
    x = image(2, 32, 4, 4)
    with torch.no_grad():
        before = attn(x)
        attn.attention_biases[:, 1:] += 1  # as a step of an optimiser does
        assert relative_error(attn(x), before) > 1e-3


# The network to export


@pytest.mark.parametrize(
    "options", [{}, {"features_only": True}, {"num_classes": 0}], ids=["logits", "maps", "pooled"]
)
def test_fused_network_computes_the_same(options):
    model = loud(EfficientVit(VARIANTS["efficientvit_m0"], **options)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fused = model.fused()
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not fused.training and not any(p.requires_grad for p in fused.parameters())
    assert not any(isinstance(m, NORMS) for m in fused.modules())
    with pytest.raises(RuntimeError, match="attention_biases"):
        model.fused().load_state_dict(before)
    again = fused.fused()
    model.eval()
    with torch.no_grad():
        for batch in (image(2, 3, 224, 224), image(1, 3, 96, 160)):
            outputs = [net(batch) for net in (model, fused, again)]
            outputs = outputs if options.get("features_only") else [[o] for o in outputs]
            for expected, once, twice in zip(*outputs, strict=True):
                assert relative_error(once, expected) <= 1e-5
                assert torch.equal(once, twice)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.half, 1e-2), (torch.double, 1e-5)])
def test_fused_network_follows_its_type(dtype, tolerance):
    model, batch = tiny(), image(2, 3, 128, 128)
    with torch.no_grad():
        expected = model(batch)
        for fused in (model.fused().to(dtype), copy.deepcopy(model).to(dtype).fused()):
            assert {t.dtype for t in fused.state_dict().values()} == {dtype}
            assert relative_error(fused(batch.to(dtype)).float(), expected) <= tolerance


@pytest.mark.slow
def test_exported_biases_are_constants():
    model, batch = tiny(), image(1, 3, 128, 192)

    def export(network):
        program = torch.export.export(network, (batch,)).run_decompositions()
        nodes = [n for n in program.graph.nodes if n.op == "call_function"]
        return program.module(), nodes, {str(n.target) for n in nodes}

    assert "aten.index_select.default" in export(model)[2]  # what a constant does not need
    exported, nodes, operators = export(model.fused())
    assert not {o for o in operators if any(w in o for w in ("index", "gather", "norm", "select"))}
    values = [n.meta["val"] for n in nodes]
    assert max(v.ndim for v in values if isinstance(v, torch.Tensor)) == 4
    # Each head's bias goes as it is stored into the addition.
    adds = [n for n in nodes if str(n.target) == "aten.add.Tensor"]
    stored = [n for add in adds for n in add.all_input_nodes if n.op == "placeholder"]
    assert len(stored) == 2 + 4 + 3
    with torch.no_grad():
        assert relative_error(exported(batch), model(batch)) <= 1e-5


# Sizes


@pytest.mark.parametrize("size", [(1, 1), (15, 65), (64, 64), (128, 128), (129, 200), (300, 90)])
def test_any_size(size):
    model = tiny()
    with torch.no_grad():
        maps = list(model.maps(image(2, 3, *size)))
        logits = model(image(2, 3, *size))
    assert logits.shape == (2, 10) and logits.isfinite().all()
    for info, m in zip(model.feature_info, maps, strict=True):
        assert m.shape == (2, info.channels, *(-(-side // info.stride) for side in size))


# Options and modes


def test_features():
    batch = image(2, 3, 96, 160)
    model = tiny(features_only=True)
    assert (model.feature_channels, model.feature_strides) == ((16, 32, 48), (16, 32, 64))
    with torch.no_grad():
        maps = model(batch)
        chosen = EfficientVit(TINY, features_only=True, out_indices=(-1, 0)).eval()
        chosen.load_state_dict(model.state_dict())
        assert chosen.feature_strides == (16, 64)
        for actual, expected in zip(chosen(batch), (maps[0], maps[2]), strict=True):
            assert torch.equal(actual, expected)
    with pytest.raises(UsageError, match="0 to 2"):
        EfficientVit(TINY, features_only=True, out_indices=(3,))


def test_without_classes_gives_the_pooled_map():
    model, batch = loud(EfficientVit(TINY, num_classes=0, in_channels=5)), image(2, 5, 64, 128)
    assert torch.equal(model(batch), model.forward_features(batch).mean((2, 3)))


def test_gradients_reach_every_parameter():
    model = tiny(drop=0.1, drop_path=0.1).train()
    torch.manual_seed(0)  # of the branches to drop
    model(image(8, 3, 128, 128)).square().mean().backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not missing


def test_drop_path_and_dropout_act_in_training_alone():
    model, batch = tiny(drop=0.5, drop_path=0.5), image(4, 3, 64, 64)
    assert torch.equal(model(batch), model(batch))
    rates = [m.rate for m in model.modules() if isinstance(m, DropPath)]
    assert rates == sorted(rates) and (rates[0], rates[-1]) == (0.0, 0.5)
    for module in model.modules():  # but not the norms, whose statistics would move
        module.training = isinstance(module, (Residual, DropPath))
    assert not torch.equal(model(batch), model(batch))
    model.eval().head.drop.train()
    assert not torch.equal(model(batch), model(batch))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # sizes become constants
def test_traced_and_channels_last():
    model, batch = tiny(), image(2, 3, 96, 160)
    with torch.no_grad():
        expected = model(batch)
        assert relative_error(torch.jit.trace(model, batch)(batch), expected) <= 1e-5
        last = batch.to(memory_format=torch.channels_last)
        assert relative_error(model(last), expected) <= 1e-5
        assert relative_error(model.to(memory_format=torch.channels_last)(last), expected) <= 1e-5


@pytest.mark.slow
def test_compiled():
    model, batch = tiny(), image(2, 3, 96, 160)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert relative_error(compiled(batch), model(batch)) <= 1e-5


def test_autocast():
    model, batch = tiny(), image(2, 3, 96, 160)
    with torch.no_grad():
        expected = model(batch)
        with torch.autocast("cpu", torch.bfloat16):
            assert relative_error(model(batch), expected) <= 5e-2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": (2, 3, 4)}, "3 attention heads do not divide the width 32"),
        ({"kernels": (3, 3)}, "2 kernels for 4 attention heads"),
        ({"image_size": 0}, "the image size must be 1 or more, not 0"),
    ],
)
def test_impossible_configuration(change, message):
    with pytest.raises(UsageError, match=message):
        EfficientVit(dataclasses.replace(TINY, **change))


# Official checkpoints


def official_name(name):
    """The name in microsoft/Cream, written from the structure of its network."""
    for ours, theirs in ((".conv.", ".c."), (".linear.", ".l.")):
        name = name.replace(ours, theirs)
    parts = name.split(".")
    if parts[0] == "patch_embed":  # convolutions with an activation after each but the last
        return ".".join(["patch_embed", str(2 * (int(parts[1][-1]) - 1)), *parts[2:]])
    if parts[0] != "stages":
        return name
    blocks, kind, which, rest = f"blocks{int(parts[1]) + 1}", parts[2], parts[3], parts[4:]
    if kind == "downsample":
        return ".".join([blocks, {"res1": "0", "patchmerge": "1", "res2": "2"}[which], *rest])
    return ".".join([blocks, str(int(which) + (0 if parts[1] == "0" else 3)), *rest])


@pytest.mark.parametrize("name", VARIANTS)
def test_official_weights_load_strictly(name):
    with torch.device("meta"):
        model = EfficientVit(VARIANTS[name])
    official = {official_name(k): v for k, v in model.state_dict().items()}
    assert len(official) == len(model.state_dict())
    for key in [k for k in official if k.endswith(".attention_biases")]:
        official[key.replace("biases", "bias_idxs")] = torch.zeros(49, 49, dtype=torch.long)
    assert is_official(official) and not is_official(model.state_dict())
    mapped = from_official(official)
    assert mapped.keys() == model.state_dict().keys()
    assert all(mapped[k] is official[official_name(k)] for k in mapped)
    model.load_state_dict(mapped, strict=True)


def test_official_names_as_published():
    """Some names of efficientvit_m0.pth, so that the mapping is not judged by its inverse alone."""
    published = {
        "patch_embed.6.bn.running_var": "patch_embed.conv4.bn.running_var",
        "blocks2.0.1.m.pw2.c.weight": "stages.1.downsample.res1.1.m.pw2.conv.weight",
        "blocks2.1.se.fc1.bias": "stages.1.downsample.patchmerge.se.fc1.bias",
        "blocks3.2.0.m.bn.bias": "stages.2.downsample.res2.0.m.bn.bias",
        "blocks3.5.mixer.m.attn.dws.1.bn.bias": "stages.2.blocks.2.mixer.m.attn.dws.1.bn.bias",
        "head.l.bias": "head.linear.bias",
    }
    assert list(from_official(dict.fromkeys(published, torch.zeros(1)))) == list(published.values())
    (squeeze,) = from_official({"blocks2.1.se.fc2.weight": torch.zeros(8, 2)}).values()
    assert squeeze.shape == (8, 2, 1, 1)  # linear in older releases
