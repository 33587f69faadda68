"""Which weights fit which network, and how those that do not are refused."""

import importlib
import re

import pytest
import torch
from torch import nn

from converters.provenance import state_digest
from mobilevit_kit import create_model, list_models
from mobilevit_kit.models.checkpoints import _OFFICIAL, load_weights
from mobilevit_kit.models.weight_files import file_sha256
from tests.mobilevit_kit.models.saved_weights import (
    CARD,
    NAME,
    StateDict,
    assert_same,
    loud_state,
    refusal,
    saved,
)
from tests.oracles import timm


@pytest.fixture(scope="module")
def loud() -> StateDict:
    """The state dict that most tests save; not to be written to."""
    return loud_state()


@pytest.fixture
def model() -> nn.Module:
    return create_model(NAME, num_classes=10)


# What is accepted


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".PT"])
def test_timm_state_dict_loads_strictly(suffix, tmp_path) -> None:
    source = timm.create_model(NAME, num_classes=10).eval()
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    path = saved(tmp_path / f"weights{suffix}", source.state_dict())
    model = create_model(NAME, num_classes=10).eval()
    record = load_weights(model, path, card=CARD)
    assert (record.kind, record.origin, record.seed) == ("file", f"weights{suffix}", None)
    assert (record.sha256, record.mapped_from) == (file_sha256(path), None)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(image), source(image), rtol=1e-5, atol=1e-5)


def test_create_model_loads_a_file(loud, tmp_path) -> None:
    path = saved(tmp_path / "w.safetensors", loud)
    assert_same(create_model(NAME, num_classes=10, weights=str(path)), loud)


def test_older_pickle_format(model, loud, tmp_path) -> None:
    path = tmp_path / "w.pth"
    torch.save(loud, path, _use_new_zipfile_serialization=False)
    load_weights(model, path, card=CARD)
    assert_same(model, loud)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "epoch": 299},
        lambda s: {"model": s, "optimizer": {"state": {}}},
        lambda s: {"model_state_dict": s},
        lambda s: {"ema": s},
        lambda s: {"model": {k: v * 0 for k, v in s.items()}, "model_ema": s},
        lambda s: {"model_ema": None, "model": {"state_dict": s}},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}},
        lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()},
    ],
)
def test_wrapped_state_dicts(wrap, model, loud, tmp_path) -> None:
    load_weights(model, saved(tmp_path / "w.pt", wrap(loud)), card=CARD)
    assert_same(model, loud)


def test_prefix_that_the_network_itself_has_is_kept(tmp_path) -> None:
    net = nn.ModuleDict({"model": nn.Linear(2, 3)})
    path = saved(tmp_path / "w.pt", net.state_dict())
    other = nn.ModuleDict({"model": nn.Linear(2, 3)})
    load_weights(other, path, card=None)
    assert_same(other, net.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_cast(dtype, model, loud, tmp_path) -> None:
    other = {k: v.to(dtype) if v.is_floating_point() else v for k, v in loud.items()}
    load_weights(model, saved(tmp_path / "w.safetensors", other), card=CARD)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert_same(model, {k: v.to(loud[k].dtype) for k, v in other.items()})


def test_absent_batch_counters_are_tolerated(model, loud, tmp_path) -> None:
    old = {k: v for k, v in loud.items() if not k.endswith("num_batches_tracked")}
    assert len(old) < len(loud)
    load_weights(model, saved(tmp_path / "w.pt", old), card=CARD)
    assert_same(model, loud)


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"features_only": True}])
def test_networks_without_classifier_leave_the_head_out(options, loud, tmp_path) -> None:
    path = saved(tmp_path / "w.safetensors", loud)
    model = create_model(NAME, weights=str(path), **options)
    assert_same(model, {k: v for k, v in loud.items() if not k.startswith("head.")})


def test_a_user_s_own_network(tmp_path) -> None:
    source = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    path = saved(tmp_path / "mine.safetensors", source.state_dict())
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    weight = net[0].weight
    assert load_weights(net, path, card=None).origin == "mine.safetensors"
    assert_same(net, source.state_dict())
    assert net[0].weight is weight  # in place: an optimizer that holds it goes on working


def test_weights_reach_networks_that_derive_from_them(tmp_path) -> None:
    """Loading goes by way of load_state_dict, whose hooks a network may rely on."""

    class Derived(nn.Linear):
        total = 0.0

        def _load_from_state_dict(self, *args):
            super()._load_from_state_dict(*args)
            self.total = self.weight.sum().item()

    source = nn.Linear(2, 2)
    net = Derived(2, 2)
    load_weights(net, saved(tmp_path / "w.pt", source.state_dict()), card=None)
    assert net.total == source.weight.sum().item()


def test_loud_weights_are_recorded_by_seed_and_digest() -> None:
    one, two, other = (create_model(NAME, num_classes=10, seed=i) for i in range(3))
    first = load_weights(one, "loud", card=CARD, seed=5)
    assert (first.kind, first.origin, first.seed) == ("loud", None, 5)
    assert first.sha256 == state_digest(one)
    assert load_weights(two, "loud", card=CARD, seed=5) == first
    assert load_weights(other, "loud", card=None, seed=6).sha256 != first.sha256


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net[0].weight.data.view(-1)[0].add_(1e-6),
        lambda net: net[1].running_mean.add_(1e-6),
        lambda net: net.half(),
        lambda net: setattr(net[0], "weight", nn.Parameter(net[0].weight.view(4, 1))),
    ],
)
def test_digest_sees_every_change(change) -> None:
    def make() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 1), nn.BatchNorm1d(1))

    changed = make()
    assert state_digest(changed) == state_digest(make())
    change(changed)
    assert state_digest(changed) != state_digest(make())


# What does not fit


def test_missing_and_unexpected_entries_are_listed(model, loud, tmp_path) -> None:
    wrong = {("x." + k if k.startswith("stages.4.") else k): v for k, v in loud.items()}
    path = saved(tmp_path / "w.pt", wrong)
    line = refusal(model, path)
    renamed = [k for k in loud if k.startswith("stages.4.")]
    counted = [k for k in renamed if not k.endswith("num_batches_tracked")]
    assert line.startswith(f"{path} does not fit {NAME}: ")
    assert f"{len(counted)} entries missing ({', '.join(counted[:10])}" in line
    assert counted[10] + "," not in line.partition("unexpected")[0]
    assert f"and {len(counted) - 10} more)" in line
    assert f"{len(renamed)} entries unexpected (x.{renamed[0]}, " in line
    assert f"and {len(renamed) - 10} more)" in line


def test_single_missing_entry(model, loud, tmp_path) -> None:
    fewer = {k: v for k, v in loud.items() if k != "head.fc.bias"}
    line = refusal(model, saved(tmp_path / "w.safetensors", fewer))
    assert line.endswith(f"does not fit {NAME}: 1 entry missing (head.fc.bias)")


def test_wrong_shapes_are_listed(model, tmp_path) -> None:
    other = create_model("mobilevit_xs", num_classes=10).state_dict()
    line = refusal(model, saved(tmp_path / "w.pt", other))
    assert "stages.0.0.conv1_1x1.conv.weight is 64x16x1x1, not 32x16x1x1" in line
    assert re.search(r"\d+ entries of another shape or type \(.* and \d+ more\)$", line)


def test_another_number_of_classes_names_the_option(model, tmp_path) -> None:
    other = create_model(NAME, num_classes=7).state_dict()
    line = refusal(model, saved(tmp_path / "w.pt", other))
    assert "head.fc.weight is 7x320, not 10x320" in line
    assert line.endswith("these weights are for 7 classes: pass --num-classes 7")


def test_another_number_of_channels_names_the_option(model, tmp_path) -> None:
    other = create_model(NAME, num_classes=10, in_channels=1).state_dict()
    line = refusal(model, saved(tmp_path / "w.pt", other))
    assert line.endswith("these weights are for 1 input channels: pass --in-channels 1")


def test_a_user_s_network_is_not_pointed_to_the_kit_s_options(tmp_path) -> None:
    net, other = nn.ModuleDict({"classifier": nn.Linear(2, 3)}), nn.Linear(2, 4).state_dict()
    path = saved(tmp_path / "w.pt", {f"classifier.{k}": v for k, v in other.items()})
    line = refusal(net, path, card=None)
    assert "does not fit ModuleDict" in line
    assert "--num-classes" not in line


@pytest.mark.parametrize(
    "entry",
    [
        lambda t: (t * 10).to(torch.int8),
        lambda t: t.to_sparse(),
        lambda t: t.to("meta"),
        lambda t: t.to(torch.complex64),
    ],
)
def test_entries_that_are_no_plain_numbers(entry, model, loud, tmp_path) -> None:
    wrong = {**loud, "stem.conv.weight": entry(loud["stem.conv.weight"])}
    line = refusal(model, saved(tmp_path / "w.pt", wrong))
    assert "1 entry of another shape or type (stem.conv.weight is " in line


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_named(value, model, loud, tmp_path) -> None:
    broken = {k: v.clone() for k, v in loud.items()}
    broken["stages.2.1.norm.weight"][3] = value
    path = saved(tmp_path / "w.safetensors", broken)
    line = refusal(model, path)
    assert line == f"{path} holds NaN or infinite values in stages.2.1.norm.weight"


def test_values_too_large_for_the_network_s_type(model, loud, tmp_path) -> None:
    large = {k: v.double() if v.is_floating_point() else v for k, v in loud.items()}
    large["stem.bn.bias"][0] = 1e300
    assert "infinite values in stem.bn.bias" in refusal(model, saved(tmp_path / "w.pt", large))


# Other families


@pytest.mark.parametrize("family", _OFFICIAL)
def test_official_mappings_can_be_looked_up(family) -> None:
    module = importlib.import_module(f"mobilevit_kit.models.{_OFFICIAL[family][0]}")
    assert not module.is_official(["head.fc.weight"])
    assert module.from_official({"foreign": torch.ones(1)}).keys() == {"foreign"}


TIMM_NAMES = {
    "efficientvit_m0": "EfficientViT",
    "edgenext_xx_small": "EdgeNeXt",
    "mobilenetv4_conv_small": "MobileNetV4",
    "mobilenetv4_hybrid_medium": "MobileNetV4",
    "mobilevitv2_050": "MobileViTv2",
}


@pytest.mark.parametrize(("name", "family"), TIMM_NAMES.items())
def test_weights_of_another_family_are_named(name, family, model, tmp_path) -> None:
    other = timm.create_model(name, num_classes=10).state_dict()
    path = saved(tmp_path / "w.safetensors", other)
    line = refusal(model, path)
    assert line == f"{path} does not fit {NAME}: these look like {family} weights"


@pytest.mark.parametrize(
    ("entry", "title"),
    [
        ("blocks1.0.mixer.m.attn.qkvs.0.c.weight", "EfficientViT weights"),
        ("stages.1.1.xca.temperature", "EdgeNeXt weights"),
        ("layer_3.1.global_rep.0.pre_norm_attn.1.qkv_proj.block.conv.weight", "MobileViTv2"),
        (
            "mobilevit.encoder.layer.2.transformer.layer.0.attention.attention.query.weight",
            "MobileViT weights in the transformers library's naming",
        ),
    ],
)
def test_official_names_of_another_family(entry, title, model, tmp_path) -> None:
    path = saved(tmp_path / "w.pt", {"model": {entry: torch.ones(1)}})
    assert f"does not fit {NAME}: these look like {title}" in refusal(model, path)


@pytest.mark.parametrize("name", list_models())
def test_no_family_is_taken_for_another(name, tmp_path) -> None:
    """Every model of the kit loads its own weights."""
    state = create_model(name, num_classes=3, weights="loud").state_dict()
    path = saved(tmp_path / "w.safetensors", state)
    assert_same(create_model(name, num_classes=3, weights=str(path)), state)
