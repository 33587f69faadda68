"""Seeded random weights under which a fault in a converted file shows.

A network's usual initial weights hide faults: batch norms are the identity, layer scales are
1e-5, biases are 0, attention is nearly uniform, and a wrong softmax axis changes the output by
less than rounding does. Here every weight is fan-in scaled, every norm has affines of its own,
every scale is near 1, and the statistics of batch norms follow those of a forward pass, each
channel off by a random factor, so that activations neither fade nor grow with depth and each
operator has a say in the output, while rounding stays at 1e-6 of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_BATCH_NORM = nn.modules.batchnorm._NormBase
_NORMS = (_BATCH_NORM, nn.LayerNorm, nn.GroupNorm)
# Low enough that the variances which enter a layer norm are small and an epsilon of 1e-6 for 1e-5
# in the first or last of mobilevit_xs shows at its output, high enough that attention is not
# uniform.
_GAIN = 0.35
_BIAS = 0.1
_BATCH_NORM_BIAS = 0.2


@torch.no_grad()
def loud_weights_(
    module: nn.Module, seed: int = 0, example_inputs: Sequence[Tensor] = ()
) -> nn.Module:
    """Overwrites all parameters and norm statistics of `module` in place and returns it.

    Each parameter's values depend on the seed and on its own name alone, so that two networks
    with the same names and shapes get the same weights. With `example_inputs` (positional) the
    statistics of batch norms are taken from a forward pass; without, they are random.
    """
    for prefix, child in module.named_modules():
        for name, parameter in child.named_parameters(prefix, recurse=False):
            kind = name.rpartition(".")[2]
            parameter.copy_(_draw(child, kind, parameter, _generator(name, seed)))
        if isinstance(child, _BATCH_NORM) and child.track_running_stats:
            mean: Any = child.running_mean
            var: Any = child.running_var
            g = _generator(f"{prefix}.running", seed)
            mean.copy_(_normal(mean, 0.2, g))
            var.copy_(_uniform(var, 0.5, 1.5, g))
    if example_inputs:
        _match_statistics(module, example_inputs)
    return module


def _match_statistics(module: nn.Module, example_inputs: Sequence[Tensor]) -> None:
    """Moves each batch norm's random statistics to where its input lies, layer by layer."""

    def shift(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        # Over the layer as a whole: matched channel by channel, one that happens to vary little
        # would be blown up, and rounding with it, again in each layer.
        mean, std = inputs[0].mean(), inputs[0].std()
        norm.running_mean.mul_(std).add_(mean)
        norm.running_var.mul_(std.square())

    training = module.training
    norms = [m for m in module.modules() if isinstance(m, _BATCH_NORM)]
    hooks = [norm.register_forward_pre_hook(shift) for norm in norms]
    try:
        module.eval()(*example_inputs)
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()


def _draw(owner: nn.Module, kind: str, old: Tensor, g: torch.Generator) -> Tensor:
    if isinstance(owner, _BATCH_NORM) and kind == "bias":
        return _normal(old, _BATCH_NORM_BIAS, g)
    if isinstance(owner, _NORMS):
        return _uniform(old, 0.7, 1.3, g) if kind == "weight" else _normal(old, _BIAS, g)
    if kind.startswith("bias") and old.ndim == 1:
        return _normal(old, _BIAS, g)
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
