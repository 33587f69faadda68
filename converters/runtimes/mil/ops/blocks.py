"""Exchanges of the axes of (B,C,H,W) in blocks: space with channels, space with the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .arguments import integers
from .registry import operator


@operator("depth_to_space")
def depth_to_space(x: Tensor, block_size: Tensor) -> Tensor:
    """(B,C*b*b,H,W) to (B,C,H*b,W*b); the place in the block is the channel's slower part."""
    batch, channels, height, width = x.shape
    block = int(block_size)
    blocks = x.reshape(batch, block, block, channels // block**2, height, width)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(batch, -1, height * block, width * block)


@operator("space_to_depth")
def space_to_depth(x: Tensor, block_size: Tensor) -> Tensor:
    """(B,C,H*b,W*b) to (B,C*b*b,H,W), the inverse of `depth_to_space`."""
    batch, channels, height, width = x.shape
    block = int(block_size)
    blocks = x.reshape(batch, channels, height // block, block, width // block, block)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(batch, -1, height // block, width // block)


@operator("pixel_shuffle")
def pixel_shuffle(x: Tensor, upscale_factor: Tensor) -> Tensor:
    """(B,C*f*f,H,W) to (B,C,H*f,W*f); the place in the block is the channel's faster part."""
    return torch.pixel_shuffle(x, int(upscale_factor))


@operator("pixel_unshuffle")
def pixel_unshuffle(x: Tensor, downscale_factor: Tensor) -> Tensor:
    """(B,C,H*f,W*f) to (B,C*f*f,H,W), the inverse of `pixel_shuffle`."""
    return torch.pixel_unshuffle(x, int(downscale_factor))


@operator("space_to_batch")
def space_to_batch(x: Tensor, block_shape: Tensor, paddings: Tensor) -> Tensor:
    """(B,C,H,W), padded with 0, to (B*b*b,C,H/b,W/b); the place in the block comes before B."""
    down, right = integers(block_shape)
    (top, bottom), (left, after) = paddings.tolist()
    padded = F.pad(x, (left, after, top, bottom))
    batch, channels, height, width = padded.shape
    blocks = padded.reshape(batch, channels, height // down, down, width // right, right)
    return blocks.permute(3, 5, 0, 1, 2, 4).reshape(-1, channels, height // down, width // right)


@operator("batch_to_space")
def batch_to_space(x: Tensor, block_shape: Tensor, crops: Tensor) -> Tensor:
    """(B*b*b,C,H,W) to (B,C,H*b,W*b), cropped: the inverse of `space_to_batch`."""
    down, right = integers(block_shape)
    (top, bottom), (left, after) = crops.tolist()
    batch, channels, height, width = x.shape
    blocks = x.reshape(down, right, batch // (down * right), channels, height, width)
    whole = blocks.permute(2, 3, 4, 0, 5, 1).reshape(-1, channels, height * down, width * right)
    return whole[:, :, top : whole.shape[2] - bottom, left : whole.shape[3] - after]
