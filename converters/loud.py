"""Seeded random weights under which a fault in a converted file shows.

A network's usual initial weights hide faults: batch norms are the identity, layer scales are
1e-5, biases are 0, attention is nearly uniform, and a wrong softmax axis changes the output by
less than rounding does. Here every weight is fan-in scaled, every norm has statistics and affines
of its own, and every scale is near 1, so that each operator has a say in the output.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
_GAIN = 1.4  # about what SiLU, GELU and ReLU take from the second moment of their input


@torch.no_grad()
def loud_weights_(module: nn.Module, seed: int = 0) -> nn.Module:
    """Overwrites all parameters and norm statistics of `module` in place and returns it.

    Each tensor's values depend on the seed and on its own name alone, so that two networks with
    the same names and shapes get the same weights.
    """
    for prefix, child in module.named_modules():
        own = child.named_parameters(prefix, recurse=False)
        for name, parameter in own:
            kind = name.rpartition(".")[2]
            parameter.copy_(_draw(child, kind, parameter, _generator(name, seed)))
        for name, buffer in child.named_buffers(prefix, recurse=False):
            g = _generator(name, seed)
            if name.endswith("running_mean"):
                buffer.copy_(_normal(buffer, 0.2, g))
            elif name.endswith("running_var"):
                buffer.copy_(_uniform(buffer, 0.3, 1.5, g))
    return module


def _draw(owner: nn.Module, kind: str, old: Tensor, g: torch.Generator) -> Tensor:
    if isinstance(owner, _NORMS):
        return _uniform(old, 0.7, 1.3, g) if kind == "weight" else _normal(old, 0.2, g)
    if kind.startswith("bias") and old.ndim == 1:
        return _normal(old, 0.2, g)
    if isinstance(owner, nn.Embedding):
        return _normal(old, 1.0, g)
    if old.ndim >= 2 and kind.startswith(("weight", "in_proj_weight")):
        fan_in = old[0].numel()
        return _normal(old, _GAIN / fan_in**0.5, g)
    # Parameters that a network defines itself: scales start at a constant, tables at zero.
    constant = bool((old == old.flatten()[0]).all()) and bool((old != 0).any())
    return _uniform(old, 0.7, 1.3, g) if constant else _normal(old, 0.5, g)


def _generator(name: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed)


def _normal(like: Tensor, std: float, g: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=g) * std


def _uniform(like: Tensor, low: float, high: float, g: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=g) * (high - low) + low
