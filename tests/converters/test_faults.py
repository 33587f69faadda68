"""A check that cannot fail proves nothing: one fault put into the source, and parity must see it.

The file was converted from a sound MobileViT; comparing it with a source that has one fault is the
same as comparing a faulty file with a sound source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters import Artifact
from converters.verify import verify
from mobilevit_kit.models import mobilevit
from tests.networks import tiny_mobilevit

IMAGE = torch.zeros(1, 3, 128, 128)  # the deepest transformer sees four tokens


def only(model: nn.Module, kind: type[nn.Module], which: int) -> nn.Module:
    return [m for m in model.modules() if isinstance(m, kind)][which]


class FaultyAttention(nn.Module):
    """`mobilevit.Attention` written out, with one thing wrong."""

    def __init__(self, sound: mobilevit.Attention, *, axis: int = -1, scale_by: str = "head",
                 swapped: bool = False) -> None:  # fmt: skip
        super().__init__()
        self.sound, self.axis, self.scale_by, self.swapped = sound, axis, scale_by, swapped

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        heads = self.sound.heads
        qkv = self.sound.qkv(x).reshape(b, n, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.flip(0).unbind(0) if self.swapped else qkv.unbind(0)
        scale = {"head": c // heads, "width": c, "none": 1}[self.scale_by] ** -0.5
        y = (q @ k.transpose(-2, -1) * scale).softmax(self.axis) @ v
        return self.sound.proj(y.transpose(1, 2).reshape(b, n, c))


def attention(which: int = 0, **fault: object) -> Callable[[mobilevit.MobileVit], None]:
    def put(model: mobilevit.MobileVit) -> None:
        layers = [m for m in model.modules() if isinstance(m, mobilevit.TransformerLayer)]
        layers[which].attn = FaultyAttention(layers[which].attn, **fault)  # type: ignore[arg-type]

    return put


def setting(kind: type[nn.Module], which: int, **values: object) -> Callable[[nn.Module], None]:
    def put(model: nn.Module) -> None:
        for name, value in values.items():
            setattr(only(model, kind, which), name, value)

    return put


def swap_patch_order(model: nn.Module) -> None:
    """The pixels of a patch in another order only shows where the sequences are mixed up too."""
    block = only(model, mobilevit.MobileVitBlock, 0)
    assert isinstance(block, mobilevit.MobileVitBlock)
    sound = block.attend

    def attend(x: Tensor) -> Tensor:
        b, d, h, w = x.shape
        rows = x.reshape(b, d, h // 2, 2, w // 2, 2).permute(0, 1, 3, 2, 5, 4).reshape(b, d, h, w)
        y = sound(rows)
        return y.reshape(b, d, 2, h // 2, 2, w // 2).permute(0, 1, 3, 2, 5, 4).reshape(b, d, h, w)

    block.attend = attend  # type: ignore[method-assign]


def shift_padding(model: nn.Module) -> None:
    """TensorFlow's SAME padding in the place of PyTorch's: the samples move by one pixel."""
    stem = model.stem.conv
    stem.padding = (0, 0)
    stem.register_forward_pre_hook(lambda module, args: F.pad(args[0], (0, 1, 0, 1)))


def drop_shortcut(model: nn.Module) -> None:
    block = next(
        m for m in model.modules() if isinstance(m, mobilevit.MobileNetV2Block) and m.has_shortcut
    )
    block.has_shortcut = False


def reverse_fusion(model: nn.Module) -> None:
    block = only(model, mobilevit.MobileVitBlock, -1)
    c = block.conv_proj.conv.out_channels
    block.conv_fusion.register_forward_pre_hook(
        lambda module, args: torch.cat((args[0][:, c:], args[0][:, :c]), 1)
    )


@torch.no_grad()
def nudge_weight(model: nn.Module) -> None:
    """One value of one convolution in the middle, off by a hundredth."""
    model.stages[2][1].conv_1x1.weight[3, 2] *= 1.01


FAULTS = {
    "softmax over the queries, first layer": attention(0, axis=-2),
    "softmax over the queries, last layer": attention(-1, axis=-2),
    "logits scaled by the full width": attention(0, scale_by="width"),
    "logits not scaled": attention(-1, scale_by="none"),
    "values and queries swapped": attention(1, swapped=True),
    "GELU for SiLU in an MLP": setting(mobilevit.Mlp, -1, act=nn.GELU()),
    "hard swish for SiLU after a convolution": setting(
        mobilevit.ConvNormAct, 0, act=nn.Hardswish()
    ),
    "layer norm epsilon 1e-6, first": setting(nn.LayerNorm, 0, eps=1e-6),
    "layer norm epsilon 1e-6, last": setting(nn.LayerNorm, -1, eps=1e-6),
    "batch norm epsilon 1e-3, first": setting(nn.BatchNorm2d, 0, eps=1e-3),
    "batch norm epsilon 1e-3, last": setting(nn.BatchNorm2d, -1, eps=1e-3),
    "batch norm epsilon 1e-6, last": setting(nn.BatchNorm2d, -1, eps=1e-6),
    "SAME padding at the stem": shift_padding,
    "pixels of a patch and patches swapped": swap_patch_order,
    "a shortcut left out": drop_shortcut,
    "fusion's halves in the other order": reverse_fusion,
    "one weight off by a hundredth": nudge_weight,
}


@pytest.fixture(scope="module")
def artifact(converted: Callable[[str], Artifact]) -> Iterator[Artifact]:
    yield converted("mobilevit")


def test_the_sound_source_passes(artifact: Artifact) -> None:
    result = verify(artifact.path, tiny_mobilevit(), IMAGE)
    assert result.checked.parity.verdict == "pass", result.checked.parity.reason
    assert result.against == "its PyTorch source"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_single_fault_fails(fault: str, artifact: Artifact) -> None:
    source = tiny_mobilevit()
    FAULTS[fault](source)
    parity = verify(artifact.path, source, IMAGE).checked.parity
    assert parity.verdict == "fail", f"{fault}: {parity.reason}"
