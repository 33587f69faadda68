"""Compressed weights: the `constexpr_` operators, whose operands are constants.

Those of iOS16 hold packed bits and a separate shape, those of iOS18 types of less than a byte,
which are unpacked when they are read; one function serves both where they share a name.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .constants import unpack_bits
from .limits import MAX_ELEMENTS, check_shape
from .ops import operator


@operator("constexpr_affine_dequantize")
def affine_dequantize(
    quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: Tensor
) -> Tensor:
    """Scale * (quantized_data - zero_point), both scalars or vectors along `axis`."""
    place = int(axis)
    rank = quantized_data.dim()
    if not -rank <= place < rank:
        raise IndexError(f"axis {place} of a value with {rank} dimensions")

    def along(vector: Tensor) -> Tensor:
        if vector.dim() == 0:
            return vector
        if vector.shape != (quantized_data.shape[place],):
            raise ValueError(f"{list(vector.shape)} values along axis {place}")
        return vector.reshape([-1 if i == place % rank else 1 for i in range(rank)])

    data = quantized_data.to(scale.dtype)
    return along(scale) * (data - along(zero_point).to(scale.dtype))


@operator("constexpr_cast")
def cast(source_val: Tensor, output_dtype: str) -> Tensor:
    """The same numbers, stored in fp16 and used in fp32."""
    if output_dtype != "fp32":
        raise ValueError(f"a cast to {output_dtype}")
    return source_val


@operator("constexpr_blockwise_shift_scale")
def blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """Scale * (data - offset), each scale and offset for a block of `data` of the same rank."""
    values = data.to(scale.dtype)
    if offset is not None:
        values = values - _spread(offset, data.shape).to(scale.dtype)
    return _spread(scale, data.shape) * values


@operator("constexpr_lut_to_dense")
def lut_to_dense(
    indices: Tensor, lut: Tensor, shape: Tensor | None = None, vector_axis: Tensor | None = None
) -> Tensor:
    """Values, or vectors of them along `vector_axis`, from look-up tables.

    iOS16: packed `indices`, one table (P), and the result's shape. iOS18: `indices` (...) and
    tables (...,P,V), where each leading size of the tables divides that of the indices: blocks
    of indices share a table.
    """
    if shape is not None:
        sizes = _sizes(shape)
        bits = int(math.log2(max(1, len(lut))))
        if lut.dim() != 1 or 2**bits != len(lut) or bits == 0:
            raise ValueError(f"a look-up table {list(lut.shape)}")
        unpacked = _unpacked(indices, bits, math.prod(sizes))
        return lut[unpacked.long()].reshape(sizes)
    return _looked_up(indices, lut, vector_axis)


@operator("constexpr_sparse_to_dense")
def sparse_to_dense(nonzero_data: Tensor, mask: Tensor, shape: Tensor | None = None) -> Tensor:
    """`nonzero_data` (D) where the mask is 1, in row-major order, and 0 elsewhere."""
    if shape is not None:
        sizes = _sizes(shape)
        mask = _unpacked(mask, 1, math.prod(sizes)).reshape(sizes)
    return _dense(nonzero_data, mask)


@operator("constexpr_lut_to_sparse")
def lut_to_sparse(
    indices_mask: Tensor,
    indices_nonzero_data: Tensor,
    lut: Tensor,
    vector_axis: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Look-up where the mask is 1: the mask, widened to vectors, and the values under it."""
    dense = _looked_up(_dense(indices_nonzero_data, indices_mask), lut, vector_axis)
    mask = indices_mask
    if lut.shape[-1] > 1 and vector_axis is not None:
        mask = mask.repeat_interleave(lut.shape[-1], dim=int(vector_axis))
    return mask, dense[mask != 0]


@operator("constexpr_sparse_blockwise_shift_scale")
def sparse_blockwise_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The mask, and scale * (data - offset) where it is 1."""
    dense = blockwise_shift_scale(_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask != 0]


def _looked_up(indices: Tensor, lut: Tensor, vector_axis: Tensor | None) -> Tensor:
    rank = indices.dim()
    if lut.dim() != rank + 2:
        raise ValueError(f"look-up tables {list(lut.shape)} for indices {list(indices.shape)}")
    *groups, palettes, length = lut.shape
    if indices.numel() * length > MAX_ELEMENTS or int(indices.max()) >= palettes:
        raise ValueError(f"indices that leave look-up tables {list(lut.shape)}")
    tables = []
    for axis, (size, count) in enumerate(zip(indices.shape, groups, strict=True)):
        block = _block(size, count)
        place = [-1 if i == axis else 1 for i in range(rank)]
        tables.append((torch.arange(size) // block).reshape(place))
    vectors = lut[(*tables, indices.long())]  # (...,V)
    if length == 1:
        return vectors.squeeze(-1)
    if vector_axis is None or not -rank <= int(vector_axis) < rank:
        raise ValueError("vectors without an axis")
    axis = int(vector_axis) % rank
    return vectors.movedim(-1, axis + 1).flatten(axis, axis + 1)


def _dense(nonzero_data: Tensor, mask: Tensor) -> Tensor:
    where = mask != 0
    if nonzero_data.dim() != 1 or int(where.sum()) != len(nonzero_data):
        raise ValueError(f"{list(nonzero_data.shape)} values for {int(where.sum())} places")
    dense = nonzero_data.new_zeros(mask.shape)
    dense[where] = nonzero_data
    return dense


def _spread(blocks: Tensor, shape: torch.Size) -> Tensor:
    """One value for each block as one for each element."""
    if blocks.dim() != len(shape):
        raise ValueError(f"blocks {list(blocks.shape)} of a value {list(shape)}")
    for axis, (size, count) in enumerate(zip(shape, blocks.shape, strict=True)):
        block = _block(size, count)
        if count > 1 and block > 1:
            blocks = blocks.repeat_interleave(block, dim=axis)
    return blocks


def _block(size: int, count: int) -> int:
    if count == 0 or size % count:
        raise ValueError(f"{count} blocks along {size} elements")
    return size // count


def _sizes(shape: Tensor) -> list[int]:
    sizes: list[int] = shape.tolist()
    check_shape(sizes)
    return sizes


def _unpacked(packed: Tensor, bits: int, count: int) -> Tensor:
    if packed.dim() != 1 or len(packed) != -(-count * bits // 8):
        raise ValueError(f"{list(packed.shape)} bytes for {count} values of {bits} bits")
    return torch.from_numpy(unpack_bits(packed.numpy(), bits, count))
