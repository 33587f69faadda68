"""Activations, elementwise on a tensor of any shape unless said otherwise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..values import UnknownOperator
from .arguments import along_channels, integer
from .registry import operator


@operator("relu")
def relu(x: Tensor) -> Tensor:
    """max(x, 0)"""
    return torch.relu(x)


@operator("relu6")
def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6)"""
    return torch.clamp(x, 0.0, 6.0)


@operator("clamped_relu")
def clamped_relu(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """min(x, beta) from 0 on, min(alpha * x, beta) below."""
    return torch.minimum(torch.where(x >= 0, x, alpha * x), beta)


@operator("leaky_relu")
def leaky_relu(x: Tensor, alpha: Tensor) -> Tensor:
    """From 0 on x, below alpha * x."""
    return torch.where(x >= 0, x, alpha * x)


@operator("prelu")
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """Where positive x, else alpha * x, with one alpha for each channel of (B,C,...)."""
    return torch.where(x > 0, x, along_channels(alpha, x.dim()) * x)


@operator("thresholded_relu")
def thresholded_relu(x: Tensor, alpha: Tensor) -> Tensor:
    """From alpha on x, below 0."""
    return torch.where(x >= alpha, x, 0)


@operator("elu")
def elu(x: Tensor, alpha: Tensor) -> Tensor:
    """Where positive x, else alpha * (exp(x) - 1)."""
    return torch.where(x > 0, x, alpha * torch.expm1(x))


@operator("gelu")
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """0.5 x (1 + erf(x / sqrt 2)), or one of its two approximations.

    TANH_APPROXIMATION is 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))),
    SIGMOID_APPROXIMATION is x sigmoid(1.702 x).
    """
    if mode == "EXACT":
        return F.gelu(x)
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    raise UnknownOperator("gelu", f"mode {mode}")


@operator("linear_activation")
def linear_activation(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """The line alpha * x + beta."""
    return alpha * x + beta


@operator("scaled_tanh")
def scaled_tanh(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """The curve alpha * tanh(beta * x)."""
    return alpha * torch.tanh(beta * x)


@operator("sigmoid")
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))"""
    return torch.sigmoid(x)


@operator("sigmoid_hard")
def sigmoid_hard(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """min(max(alpha * x + beta, 0), 1)"""
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


@operator("silu")
def silu(x: Tensor) -> Tensor:
    """The product x * sigmoid(x), also called swish."""
    return F.silu(x)


@operator("softplus")
def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x))"""
    return torch.logaddexp(x, x.new_zeros(()))


@operator("softplus_parametric")
def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """The curve alpha * log(1 + exp(beta * x)), alpha and beta for each channel of (B,C,...)."""
    rank = x.dim()
    return along_channels(alpha, rank) * softplus(along_channels(beta, rank) * x)


@operator("softmax")
def softmax(x: Tensor, axis: Tensor | None = None) -> Tensor:
    """exp(x) / sum of exp(x) along `axis`, the last one unless given."""
    return torch.softmax(x, integer(axis, -1))


@operator("softsign")
def softsign(x: Tensor) -> Tensor:
    """The quotient x / (1 + |x|)."""
    return x / (1 + torch.abs(x))
