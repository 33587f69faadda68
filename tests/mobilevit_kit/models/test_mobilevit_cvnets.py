"""Official MobileViT checkpoints, by way of an inverse mapping written from their structure."""

import pytest
import torch
from torch import nn

from mobilevit_kit import create_model
from mobilevit_kit.models import model_card
from mobilevit_kit.models.checkpoints import load_weights
from mobilevit_kit.models.mobilevit_cvnets import from_official, is_official
from tests.mobilevit_kit.models.saved_weights import (
    NAME,
    StateDict,
    assert_same,
    loud_state,
    refusal,
    saved,
)


@pytest.fixture(scope="module")
def loud() -> StateDict:
    """The state dict that most tests save; not to be written to."""
    return loud_state()


@pytest.fixture
def model() -> nn.Module:
    return create_model(NAME, num_classes=10)


def cvnets_name(name: str) -> str:
    """A parameter of ours as apple/ml-cvnets calls it; written from its structure."""
    parts = name.split(".")
    if parts[0] == "head":
        return f"classifier.fc.{parts[-1]}"
    kind = {"conv": "conv", "bn": "norm"}
    if parts[0] in ("stem", "final_conv"):
        layer = {"stem": "conv_1", "final_conv": "conv_1x1_exp"}[parts[0]]
        return f"{layer}.block.{kind[parts[1]]}.{parts[2]}"
    stage, block, rest = int(parts[1]) + 1, parts[2], parts[3:]
    layer = f"layer_{stage}.{block}"
    inverted = {"conv1_1x1": "exp_1x1", "conv2_kxk": "conv_3x3", "conv3_1x1": "red_1x1"}
    if rest[0] in inverted:
        return f"{layer}.block.{inverted[rest[0]]}.block.{kind[rest[1]]}.{rest[2]}"
    if rest[0] == "conv_1x1":
        return f"{layer}.local_rep.conv_1x1.block.conv.{rest[1]}"
    convolutions = {"conv_kxk": "local_rep.conv_3x3", "conv_proj": "conv_proj"}
    convolutions["conv_fusion"] = "fusion"
    if rest[0] in convolutions:
        return f"{layer}.{convolutions[rest[0]]}.block.{kind[rest[1]]}.{rest[2]}"
    if rest[0] == "norm":
        depth = {3: 2, 4: 4, 5: 3}[stage]
        return f"{layer}.global_rep.{depth}.{rest[1]}"
    inner = {
        "norm1": "pre_norm_mha.0",
        "attn.qkv": "pre_norm_mha.1.qkv_proj",
        "attn.proj": "pre_norm_mha.1.out_proj",
        "norm2": "pre_norm_ffn.0",
        "mlp.fc1": "pre_norm_ffn.1",
        "mlp.fc2": "pre_norm_ffn.4",
    }
    assert rest[0] == "transformer"
    return f"{layer}.global_rep.{rest[1]}.{inner['.'.join(rest[2:-1])]}.{rest[-1]}"


# Spelt out, one of each kind, to hold the inverse above to.
CVNETS_NAMES = {
    "conv_1.block.conv.weight",
    "conv_1.block.norm.running_var",
    "layer_1.0.block.exp_1x1.block.conv.weight",
    "layer_2.2.block.conv_3x3.block.norm.bias",
    "layer_5.0.block.red_1x1.block.norm.num_batches_tracked",
    "layer_3.1.local_rep.conv_3x3.block.conv.weight",
    "layer_3.1.local_rep.conv_3x3.block.norm.weight",
    "layer_3.1.local_rep.conv_1x1.block.conv.weight",
    "layer_4.1.global_rep.3.pre_norm_mha.0.weight",
    "layer_4.1.global_rep.0.pre_norm_mha.1.qkv_proj.bias",
    "layer_4.1.global_rep.1.pre_norm_mha.1.out_proj.weight",
    "layer_5.1.global_rep.2.pre_norm_ffn.0.bias",
    "layer_5.1.global_rep.2.pre_norm_ffn.1.weight",
    "layer_5.1.global_rep.2.pre_norm_ffn.4.weight",
    "layer_3.1.global_rep.2.weight",
    "layer_4.1.global_rep.4.bias",
    "layer_5.1.global_rep.3.weight",
    "layer_4.1.conv_proj.block.conv.weight",
    "layer_4.1.fusion.block.norm.running_mean",
    "conv_1x1_exp.block.conv.weight",
    "classifier.fc.weight",
    "classifier.fc.bias",
}


@pytest.mark.parametrize("name", ["mobilevit_xxs", "mobilevit_xs", "mobilevit_s"])
def test_cvnets_checkpoint_loads_strictly(name, tmp_path) -> None:
    source = create_model(name, num_classes=10, weights="loud", seed=2).eval()
    official = {cvnets_name(k): v for k, v in source.state_dict().items()}
    assert len(official) == len(source.state_dict())
    assert set(official) >= CVNETS_NAMES
    bgr = official["conv_1.block.conv.weight"].flip(1)
    path = saved(tmp_path / "w.pt", {**official, "conv_1.block.conv.weight": bgr})

    model = create_model(name, num_classes=10).eval()
    record = load_weights(model, path, card=model_card(name))
    assert record.mapped_from == "cvnets"
    assert_same(model, source.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(image), source(image))


def test_cvnets_stem_with_other_channels_is_not_flipped() -> None:
    stem = torch.rand(16, 4, 3, 3)
    assert torch.equal(from_official({"conv_1.block.conv.weight": stem})["stem.conv.weight"], stem)


def test_cvnets_recognition(loud) -> None:
    assert is_official([cvnets_name(k) for k in loud])
    assert not is_official(loud)


def test_cvnets_with_foreign_entries_is_refused(model, loud, tmp_path) -> None:
    official = {cvnets_name(k): v for k, v in loud.items()}
    path = saved(tmp_path / "w.pt", {**official, "seg_head.aspp.weight": torch.ones(1)})
    assert "1 entry unexpected (seg_head.aspp.weight)" in refusal(model, path)
