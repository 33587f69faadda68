"""Layers that several families share. Shapes are (B, C, H, W) for maps and (B, N, C) for tokens.

Attribute names (`conv`, `bn`, `fc1`, ...) are timm's, so that timm state dicts load strictly.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from converters.errors import UsageError


class ConvNormAct(nn.Module):
    """Convolution without bias, batch norm, activation: (B, C, H, W) -> (B, out, H/s, W/s).

    Padding is symmetric, k // 2 on each side, which is PyTorch's sampling phase.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        act: type[nn.Module] | None = nn.SiLU,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = act(inplace=True) if act is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): drops a residual branch for a whole sample in training.

    The kept samples are divided by the keep rate, so that the expectation is the identity.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * mask / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


class Mlp(nn.Module):
    """The transformer's feed-forward: linear, activation, linear on the last axis."""

    def __init__(
        self, dim: int, hidden: int, act: Callable[[], nn.Module], drop: float = 0.0
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = act()
        self.drop1 = nn.Dropout(drop)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop2 = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop1(self.act(self.fc1(x)))
        return self.drop2(self.fc2(x))


@dataclass(frozen=True)
class FeatureInfo:
    """One of the maps that a backbone can give: its channels and its stride to the input."""

    channels: int
    stride: int


class Backbone(nn.Module):
    """What every family's network has in common: stages, then a head, or the stages' maps.

    A family sets `feature_info` (one entry for each map, shallow to deep), calls
    `select_features` at the end of its constructor, and writes `maps` and `forward_head`.

    With `features_only` the head is dropped and `forward` returns the list of the maps that
    `out_indices` chose; `feature_channels` and `feature_strides` then describe these maps.
    """

    feature_info: tuple[FeatureInfo, ...]
    out_indices: tuple[int, ...] | None = None

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """Yields the map of each entry of `feature_info`; the last one feeds the head."""
        raise NotImplementedError

    def forward_head(self, x: Tensor) -> Tensor:
        """From the deepest map (B, C, H, W) to logits (B, classes), or (B, C) without classes."""
        raise NotImplementedError

    def select_features(self, features_only: bool, out_indices: Sequence[int] | None) -> None:
        """Turns the network into a feature extractor when asked to.

        Raises UsageError for an index that names no map.
        """
        if not features_only:
            if out_indices is not None:
                raise UsageError("out_indices is only meaningful with features_only=True")
            return
        count = len(self.feature_info)
        chosen = tuple(range(count)) if out_indices is None else tuple(out_indices)
        wrong = [i for i in chosen if not -count <= i < count]
        if wrong or not chosen:
            raise UsageError(
                f"out_indices {list(chosen)} must name maps of this network: "
                f"0 to {count - 1} (or -{count} to -1)"
            )
        self.out_indices = tuple(sorted({i % count for i in chosen}))
        self.feature_channels = tuple(self.feature_info[i].channels for i in self.out_indices)
        self.feature_strides = tuple(self.feature_info[i].stride for i in self.out_indices)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) image to the deepest map."""
        for x in self.maps(x):  # noqa: B007, B020 - a map may go once it was used
            pass
        return x

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        if self.out_indices is not None:
            wanted = itertools.islice(self.maps(x), self.out_indices[-1] + 1)
            return [m for i, m in enumerate(wanted) if i in self.out_indices]
        return self.forward_head(self.forward_features(x))


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Stochastic depth that grows linearly from 0 at the first block to `rate` at the last."""
    if depth == 1:
        return [0.0]
    return torch.linspace(0, rate, depth, device="cpu").tolist()
