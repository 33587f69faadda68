"""MobileViT against timm and transformers, two implementations that we did not write."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mobilevit_kit import create_model
from mobilevit_kit.models import list_models
from mobilevit_kit.models.mobilevit import VARIANTS, MobileVit
from tests.networks import TINY_MOBILEVIT, tiny_mobilevit
from tests.oracles import timm

SIZES = [(256, 256), (192, 320), (224, 224)]  # at 224 the deepest map is 7x7, no multiple of 2


def relative_error(reference: Tensor, actual: Tensor) -> float:
    return float((reference - actual).abs().max() / reference.abs().max())


@pytest.fixture(scope="module")
def loud() -> dict[str, nn.Module]:
    return {name: create_model(name, weights="loud").eval() for name in VARIANTS}


def photo_noise(size: tuple[int, int], channels: int = 3) -> Tensor:
    return torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", VARIANTS)
def test_equals_timm(name: str, size: tuple[int, int], loud: dict[str, nn.Module]) -> None:
    oracle = timm.create_model(name).eval()
    oracle.load_state_dict(loud[name].state_dict(), strict=True)
    image = photo_noise(size)
    with torch.no_grad():
        assert relative_error(oracle(image), loud[name](image)) <= 1e-5


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", VARIANTS)
def test_features_equal_timm(name: str, size: tuple[int, int], loud: dict[str, nn.Module]) -> None:
    model = create_model(name, features_only=True).eval()
    model.load_state_dict(
        {k: v for k, v in loud[name].state_dict().items() if not k.startswith("head.")}
    )
    oracle = timm.create_model(name, features_only=True).eval()
    oracle.load_state_dict({k.replace(".", "_", 1) if k.startswith("stages") else k: v
                            for k, v in model.state_dict().items()})  # fmt: skip
    assert list(model.feature_channels) == oracle.feature_info.channels()
    assert list(model.feature_strides) == oracle.feature_info.reduction()
    image = photo_noise(size)
    with torch.no_grad():
        for expected, actual in zip(oracle(image), model(image), strict=True):
            assert relative_error(expected, actual) <= 1e-5


def _to_transformers(name: str) -> str:
    """Our name of a parameter in the naming of transformers' MobileViT."""
    for ours, theirs in (
        ("stem.", "mobilevit.conv_stem."),
        ("final_conv.", "mobilevit.conv_1x1_exp."),
        ("head.fc.", "classifier."),
    ):
        if name.startswith(ours):
            rest = name.removeprefix(ours)
            return theirs + (rest if theirs == "classifier." else _conv(rest))
    _, stage, block, rest = name.split(".", 3)
    place = f"mobilevit.encoder.layer.{stage}."
    if int(stage) < 2:
        return f"{place}layer.{block}.{_mv2(rest)}"
    if block == "0":
        return f"{place}downsampling_layer.{_mv2(rest)}"
    first, _, tail = rest.partition(".")
    if first == "transformer":
        index, tail = tail.split(".", 1)
        for ours, theirs in (
            ("norm1", "layernorm_before"),
            ("norm2", "layernorm_after"),
            ("attn.proj", "attention.output.dense"),
            ("mlp.fc1", "intermediate.dense"),
            ("mlp.fc2", "output.dense"),
        ):
            tail = tail.replace(ours, theirs)
        return f"{place}transformer.layer.{index}.{tail}"
    if first == "norm":
        return f"{place}layernorm.{tail}"
    if first == "conv_1x1":
        return f"{place}conv_1x1.convolution.{tail}"
    kinds = {"conv_kxk": "conv_kxk", "conv_proj": "conv_projection", "conv_fusion": "fusion"}
    return f"{place}{kinds[first]}.{_conv(tail)}"


def _conv(rest: str) -> str:
    return rest.replace("conv.", "convolution.").replace("bn.", "normalization.")


def _mv2(rest: str) -> str:
    part, _, rest = rest.partition(".")
    return {"conv1": "expand_1x1", "conv2": "conv_3x3", "conv3": "reduce_1x1"}[
        part.split("_")[0]
    ] + f".{_conv(rest)}"


@pytest.mark.parametrize("name", VARIANTS)
def test_equals_transformers(name: str, loud: dict[str, nn.Module]) -> None:
    from transformers import MobileViTConfig, MobileViTForImageClassification

    config = VARIANTS[name]
    settings = MobileViTConfig(
        neck_hidden_sizes=[config.stem_width, *config.widths, config.final_width],
        hidden_sizes=list(config.dims),
        expand_ratio=float(config.expansion),
        image_size=256,
        num_labels=1000,
        hidden_dropout_prob=0.0,
        classifier_dropout_prob=0.0,
    )
    oracle = MobileViTForImageClassification(settings).eval()
    translated: dict[str, Tensor] = {}
    for ours, tensor in loud[name].state_dict().items():
        theirs = _to_transformers(ours)
        if ".attn.qkv." in ours:
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                translated[theirs.replace("attn.qkv", f"attention.attention.{part}")] = piece
        else:
            translated[theirs] = tensor
    oracle.load_state_dict(translated, strict=True)
    with torch.no_grad():
        for size in SIZES:
            image = photo_noise(size)
            expected = oracle(pixel_values=image).logits
            assert relative_error(expected, loud[name](image)) <= 1e-5, size


def test_gradients_reach_every_parameter() -> None:
    model = MobileVit(TINY_MOBILEVIT, num_classes=5, drop=0.1, drop_path=0.2).train()
    torch.manual_seed(0)
    model(torch.randn(8, 3, 64, 96)).square().sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_drop_path_and_dropout_act_in_training_alone() -> None:
    model = MobileVit(TINY_MOBILEVIT, num_classes=5, drop=0.5, drop_path=0.5)
    image = torch.randn(4, 3, 64, 64)
    assert not torch.equal(model(image), model(image))
    model.eval()
    assert torch.equal(model(image), model(image))


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("classes", [0, 2])
def test_any_channels_and_classes(channels: int, classes: int) -> None:
    model = MobileVit(TINY_MOBILEVIT, num_classes=classes, in_channels=channels).eval()
    out = model(torch.randn(3, channels, 40, 72))
    assert out.shape == (3, classes or TINY_MOBILEVIT.final_width)


def test_creation_is_deterministic_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, two, other = (create_model("mobilevit_xxs", seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


def _exported(model: nn.Module, image: Tensor) -> Any:
    return torch.export.export(model, (image,)).module()


def _compiled(model: nn.Module, image: Tensor) -> Any:
    # No code is generated: for AVX-512 torch takes a minute for that, or many in a long run.
    return torch.compile(model, backend="aot_eager", fullgraph=True)


@pytest.mark.parametrize("how", [_compiled, _exported, torch.jit.trace])
def test_other_forms_of_the_network(how: Any) -> None:
    model = tiny_mobilevit().eval()
    image = torch.rand(1, 3, 72, 104)
    with torch.no_grad():
        expected = model(image)
        assert relative_error(expected, how(model, image)(image)) <= 1e-5


@pytest.mark.parametrize("name", list_models())
def test_every_listed_model_is_that_of_its_card(name: str) -> None:
    from mobilevit_kit.models import model_card
    from mobilevit_kit.models.stages import measure_stages

    card = model_card(name)
    stages = measure_stages(name, card.input_size)
    assert sum(stage.parameters for stage in stages) == card.published.parameters
    assert round(sum(stage.macs for stage in stages) / 1e6) == card.published.macs_millions
