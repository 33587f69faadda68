"""Normalisations of (B,C,...) and of chosen axes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..values import UnknownOperator
from .arguments import along_channels, integers, number, positive
from .registry import operator


@operator("batch_norm")
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | None = None,
) -> Tensor:
    """For each channel of (B,C,...) gamma * (x - mean) / sqrt(variance + epsilon) + beta."""
    return F.batch_norm(x, mean, variance, gamma, beta, eps=number(epsilon, 1e-5))


@operator("instance_norm")
def instance_norm(
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | None = None,
) -> Tensor:
    """Mean and variance over the space of each image and channel of (B,C,...)."""
    rank = x.dim()
    result = _normalised(x, list(range(2, rank)), number(epsilon, 1e-5))
    if gamma is not None:
        result = result * along_channels(gamma, rank)
    return result if beta is None else result + along_channels(beta, rank)


@operator("layer_norm")
def layer_norm(
    x: Tensor,
    axes: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | None = None,
) -> Tensor:
    """Mean and variance over `axes` (all unless given); gamma and beta have the shape of these."""
    rank = x.dim()
    chosen = sorted(positive(axis, rank) for axis in integers(axes, range(rank)))
    eps = number(epsilon, 1e-5)
    if chosen == list(range(rank - len(chosen), rank)):
        return F.layer_norm(x, x.shape[rank - len(chosen) :], gamma, beta, eps)
    shape = [size if axis in chosen else 1 for axis, size in enumerate(x.shape)]
    result = _normalised(x, chosen, eps)
    if gamma is not None:
        result = result * gamma.reshape(shape)
    return result if beta is None else result + beta.reshape(shape)


def _normalised(x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    variance, mean = torch.var_mean(x, dim=axes, correction=0, keepdim=True)
    return (x - mean) / torch.sqrt(variance + epsilon)


@operator("l2_norm")
def l2_norm(x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    """The quotient x / sqrt(sum of x^2 + epsilon), the sum over the last three axes."""
    squares = torch.sum(torch.square(x), dim=(-3, -2, -1), keepdim=True)
    return x / torch.sqrt(squares + number(epsilon, 1e-6))


@operator("local_response_norm")
def local_response_norm(
    x: Tensor,
    size: Tensor,
    alpha: Tensor | None = None,
    beta: Tensor | None = None,
    k: Tensor | None = None,
) -> Tensor:
    """The quotient x / (k + alpha / size * sum of x^2)^beta, over `size` neighbouring channels.

    The reference does not say to which side an even number of channels leans.
    """
    window = int(size)
    if window % 2 == 0:
        raise UnknownOperator("local_response_norm", f"size {window}")
    edges = [0, 0] * (x.dim() - 2) + [window // 2, window // 2]
    sums = F.pad(torch.square(x), edges).unfold(1, window, 1).sum(-1)
    scale = number(k, 1.0) + number(alpha, 1e-4) / window * sums
    return x / scale ** number(beta, 0.75)
