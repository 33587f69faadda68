"""Small torch modules for the sweep through the converter and the evaluator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Function(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


@dataclass(frozen=True)
class Sample:
    """A module in evaluation mode and the tensors that it is called with."""

    module: nn.Module
    inputs: tuple[Tensor, ...]


def sample(module: nn.Module | Callable[..., Any], *inputs: Tensor) -> Sample:
    if not isinstance(module, nn.Module):
        module = Function(module)
    return Sample(randomised(module.eval()), inputs)


def randomised(module: nn.Module) -> nn.Module:
    """Parameters and statistics away from the ones and zeros that hide a mistake."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                values = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(values.abs() + 0.5 if "var" in name else values * 0.5)
    return module


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def whole(low: int, high: int, *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, shape, generator=generator, dtype=torch.int32)


LINE, IMAGE, VOLUME = normal(1, 4, 9), normal(1, 4, 7, 6), normal(1, 2, 5, 4, 6)
ROWS, POSITIVE = normal(3, 5), normal(3, 5).abs() + 0.1
TOKENS, SQUARE = normal(2, 5, 8), normal(4, 4)

CONVOLUTIONS = {
    "conv1d": sample(nn.Conv1d(4, 6, 3), LINE),
    "conv1d strided": sample(nn.Conv1d(4, 6, 4, stride=2, padding=2, dilation=2), LINE),
    "conv1d same": sample(nn.Conv1d(4, 6, 4, padding="same"), LINE),
    "conv2d": sample(nn.Conv2d(4, 6, 3), IMAGE),
    "conv2d without bias": sample(nn.Conv2d(4, 6, (3, 2), bias=False), IMAGE),
    "conv2d strided": sample(nn.Conv2d(4, 6, 3, stride=(2, 1), padding=(1, 2)), IMAGE),
    "conv2d dilated": sample(nn.Conv2d(4, 6, 3, dilation=2, padding=2), IMAGE),
    "conv2d same": sample(nn.Conv2d(4, 6, (3, 2), padding="same"), IMAGE),
    "conv2d reflecting": sample(nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"), IMAGE),
    "conv2d circular": sample(nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), IMAGE),
    "conv2d replicating": sample(nn.Conv2d(4, 6, 3, padding=1, padding_mode="replicate"), IMAGE),
    "conv2d grouped": sample(nn.Conv2d(4, 6, 3, groups=2), IMAGE),
    "conv2d depthwise": sample(nn.Conv2d(4, 8, 5, groups=4, stride=2, padding=2), IMAGE),
    "conv2d of computed weights": sample(lambda x, w: F.conv2d(x, w), IMAGE, normal(2, 4, 3, 3)),
    "conv3d": sample(nn.Conv3d(2, 3, (2, 3, 2), stride=(1, 2, 1), padding=(0, 1, 1)), VOLUME),
    "conv and batch norm": sample(nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)), IMAGE),
    "transposed conv1d": sample(nn.ConvTranspose1d(4, 3, 4, stride=2, padding=1), LINE),
    "transposed conv2d": sample(nn.ConvTranspose2d(4, 3, 3), IMAGE),
    "transposed conv2d strided": sample(nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1), IMAGE),
    "transposed conv2d output padding": sample(
        nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1), IMAGE
    ),
    "transposed conv2d uneven output padding": sample(
        nn.ConvTranspose2d(4, 3, 3, stride=2, padding=0, output_padding=(1, 0)), IMAGE
    ),
    "transposed conv2d grouped": sample(nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), IMAGE),
    "transposed conv2d dilated": sample(nn.ConvTranspose2d(4, 3, 3, dilation=2), IMAGE),
    "transposed conv3d": sample(nn.ConvTranspose3d(2, 3, 2, stride=2), VOLUME),
}  # fmt: skip

POOLS = {
    "max pool": sample(nn.MaxPool2d(2), IMAGE),
    "max pool padded": sample(nn.MaxPool2d(3, stride=2, padding=1), IMAGE),
    "max pool ceil": sample(nn.MaxPool2d(3, stride=2, ceil_mode=True), IMAGE),
    "max pool ceil padded": sample(nn.MaxPool2d(2, stride=3, padding=1, ceil_mode=True), IMAGE),
    "max pool dilated": sample(nn.MaxPool2d(2, stride=1, dilation=2), IMAGE),
    "max pool 1d": sample(nn.MaxPool1d(3, stride=2, padding=1), LINE),
    "max pool 3d": sample(nn.MaxPool3d(2, padding=(1, 0, 1)), VOLUME),
    "average pool": sample(nn.AvgPool2d(2), IMAGE),
    "average pool padded": sample(nn.AvgPool2d(3, stride=2, padding=1), IMAGE),
    "average pool excluding padding": sample(
        nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), IMAGE
    ),
    "average pool ceil": sample(nn.AvgPool2d(2, stride=3, ceil_mode=True), normal(1, 2, 7, 7)),
    "average pool ceil beyond": sample(nn.AvgPool2d(2, stride=3, ceil_mode=True), IMAGE),
    "average pool ceil within": sample(
        nn.AvgPool2d(3, stride=2, ceil_mode=True), normal(1, 2, 5, 5)
    ),
    "average pool ceil padded": sample(
        nn.AvgPool2d(3, stride=3, padding=1, ceil_mode=True), IMAGE
    ),
    "average pool ceil excluding padding": sample(
        nn.AvgPool2d(2, stride=2, padding=0, ceil_mode=True, count_include_pad=False), IMAGE
    ),
    "average pool 1d": sample(nn.AvgPool1d(4, stride=3, padding=2), LINE),
    "average pool 1d ceil": sample(nn.AvgPool1d(2, stride=2, ceil_mode=True), LINE),
    "average pool 3d": sample(nn.AvgPool3d((2, 2, 3), stride=2, padding=(0, 1, 1)), VOLUME),
    "average pool of another divisor": sample(nn.AvgPool2d(2, divisor_override=3), IMAGE),
    "adaptive average pool": sample(nn.AdaptiveAvgPool2d(1), IMAGE),
    "adaptive average pool divisible": sample(nn.AdaptiveAvgPool2d((7, 3)), IMAGE),
    "adaptive average pool uneven": sample(nn.AdaptiveAvgPool2d((3, 4)), IMAGE),
    "adaptive max pool": sample(nn.AdaptiveMaxPool2d((1, 2)), IMAGE),
}  # fmt: skip

NORMALISATIONS = {
    "batch norm 1d": sample(nn.BatchNorm1d(4), LINE),
    "batch norm of rows": sample(nn.BatchNorm1d(5), ROWS),
    "batch norm 2d": sample(nn.BatchNorm2d(4, eps=0.01), IMAGE),
    "batch norm not affine": sample(nn.BatchNorm2d(4, affine=False), IMAGE),
    "batch norm 3d": sample(nn.BatchNorm3d(2), VOLUME),
    "layer norm": sample(nn.LayerNorm(8), TOKENS),
    "layer norm of two axes": sample(nn.LayerNorm((5, 8), eps=0.1), TOKENS),
    "layer norm without bias": sample(nn.LayerNorm(8, bias=False), TOKENS),
    "group norm": sample(nn.GroupNorm(2, 4), IMAGE),
    "group norm of one": sample(nn.GroupNorm(1, 4, eps=1e-3), IMAGE),
    "instance norm": sample(nn.InstanceNorm2d(4), IMAGE),
    "instance norm affine": sample(nn.InstanceNorm2d(4, affine=True, eps=0.1), IMAGE),
    "instance norm 1d": sample(nn.InstanceNorm1d(4, affine=True), LINE),
    "local response norm": sample(nn.LocalResponseNorm(3, alpha=0.5, k=2.0), IMAGE),
    "local response norm of an even window": sample(nn.LocalResponseNorm(2, alpha=0.5), IMAGE),
    "rms norm": sample(nn.RMSNorm(8, eps=1e-6), TOKENS),
    "rms norm of a large epsilon": sample(nn.RMSNorm(8, eps=0.1), TOKENS),
    "rms norm by hand": sample(lambda x: x * torch.rsqrt(x.square().mean(-1, True) + 1e-6), TOKENS),
    "normalise": sample(lambda x: F.normalize(x, dim=1), IMAGE),
    "normalise by the sum": sample(lambda x: F.normalize(x, p=1.0, dim=-1), TOKENS),
    "cosine similarity": sample(lambda x, y: F.cosine_similarity(x, y, dim=-1), TOKENS, -TOKENS),
}  # fmt: skip

ACTIVATIONS = {
    name: sample(module, 3 * IMAGE)
    for name, module in {
        "ReLU": nn.ReLU(), "ReLU6": nn.ReLU6(), "LeakyReLU": nn.LeakyReLU(0.2),
        "ELU": nn.ELU(0.5), "CELU": nn.CELU(0.5), "SELU": nn.SELU(), "GELU": nn.GELU(),
        "GELU by tanh": nn.GELU(approximate="tanh"), "SiLU": nn.SiLU(), "Mish": nn.Mish(),
        "Hardswish": nn.Hardswish(), "Hardsigmoid": nn.Hardsigmoid(),
        "Hardtanh": nn.Hardtanh(-0.5, 2.0), "Sigmoid": nn.Sigmoid(), "Tanh": nn.Tanh(),
        "Softplus": nn.Softplus(), "Softplus scaled": nn.Softplus(beta=2.0, threshold=5.0),
        "Softsign": nn.Softsign(), "LogSigmoid": nn.LogSigmoid(), "Tanhshrink": nn.Tanhshrink(),
        "Hardshrink": nn.Hardshrink(0.7), "Softshrink": nn.Softshrink(0.7),
        "Threshold": nn.Threshold(0.5, -1.0), "PReLU": nn.PReLU(), "PReLU by channel": nn.PReLU(4),
        "Softmax": nn.Softmax(1), "Softmin": nn.Softmin(-1), "LogSoftmax": nn.LogSoftmax(-1),
        "GLU": nn.GLU(1), "Dropout": nn.Dropout(0.5), "Softmax2d": nn.Softmax2d(),
    }.items()
}  # fmt: skip

TABLES = (CONVOLUTIONS, POOLS, NORMALISATIONS, ACTIVATIONS)
