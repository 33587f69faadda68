"""Products of matrices, and the attention made of them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..values import UnknownOperator
from .arguments import flag
from .registry import operator


@operator("linear")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product of x (...,I) and the transpose of weight (O,I), plus bias (O): (...,O)."""
    return F.linear(x, weight, bias)


@operator("matmul")
def matmul(
    x: Tensor, y: Tensor, transpose_x: Tensor | None = None, transpose_y: Tensor | None = None
) -> Tensor:
    """The matrix product as in NumPy; a transposition has no effect on a vector."""
    if flag(transpose_x) and x.dim() > 1:
        x = x.transpose(-1, -2)
    if flag(transpose_y) and y.dim() > 1:
        y = y.transpose(-1, -2)
    return torch.matmul(x, y)


@operator("einsum")
def einsum(values: list[Tensor], equation: str) -> Tensor:
    """From x (B,C,H,W) and y (B,W,H,U) to (B,C,H,U), a matrix product for each B and H.

    The reference knows this equation, the same without B, and no other; B and H broadcast.
    """
    letters: dict[str, str] = {}
    form = "".join(
        letters.setdefault(c, chr(ord("a") + len(letters))) if c.isalpha() else c
        for c in equation.replace(" ", "")
    )
    if form not in ("abcd,adce->abce", "abc,cbd->abd"):
        raise UnknownOperator("einsum", equation)
    x, y = values
    return torch.matmul(x.transpose(-3, -2), y.transpose(-3, -2)).transpose(-3, -2)


@operator("scaled_dot_product_attention")
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """softmax(q k^T / sqrt(E) + mask) v for q (B,...,L,E), k (B,...,S,E), v (B,...,S,V).

    A mask (...,L,S) of numbers is added; a boolean one says which places take part.
    """
    if attn_mask is None:
        return F.scaled_dot_product_attention(query, key, value)
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    else:
        scores = scores + attn_mask
    return torch.softmax(scores, -1) @ value
