"""The sweep's modules that are functions of tensors: attention, shapes, indices, arithmetic."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.converters.runtimes.mil.modules import (
    IMAGE,
    LINE,
    POSITIVE,
    ROWS,
    SQUARE,
    TOKENS,
    VOLUME,
    normal,
    sample,
    whole,
)

QUERY, KEY, VALUE = normal(1, 2, 3, 4), normal(1, 2, 5, 4, seed=1), normal(1, 2, 5, 6, seed=2)
DISTINCT = torch.tensor([[0, 4], [2, 1], [3, 0]], dtype=torch.int32)
COLUMNS, INDICES = whole(0, 5, 3, 2), whole(0, 3, 4)
SIGNED = torch.tensor([[7.0, -7.0, 7.0, -7.0, 6.5], [-6.0, 6.0, 0.5, -0.5, 3.0]])
DIVISORS = torch.tensor([2.0, 2.0, -2.0, -2.0, 3.0])
TINY = torch.tensor([1e-4, 1e-3, 1e-2, 0.25, 1.0])
UNIT = 0.9 * torch.tanh(ROWS)
TURN = torch.tensor([[[0.8, -0.6, 0.1], [0.6, 0.8, -0.2]]])
GRID = normal(1, 3, 4, 2) * 0.8


class LastStep(nn.Module):
    """A recurrent layer's outputs without its state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class Attention(nn.Module):
    """torch's own multi-head attention of a sequence with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x, x, need_weights=False)[0]


def put_column(x: Tensor, y: Tensor) -> Tensor:
    result = x.clone()
    result[:, 2] = y
    return result


def put_columns(x: Tensor, y: Tensor) -> Tensor:
    result = x.clone()
    result[:, 1:3] = y
    return result


MATRICES = {
    "linear": sample(nn.Linear(5, 7), ROWS),
    "linear without bias": sample(nn.Linear(8, 3, bias=False), TOKENS),
    "linear of four axes": sample(nn.Linear(6, 3), IMAGE),
    "bilinear": sample(nn.Bilinear(5, 5, 3), ROWS, -ROWS),
    "matmul": sample(torch.matmul, TOKENS, normal(2, 8, 3)),
    "matmul of vectors": sample(torch.matmul, normal(5), normal(5, seed=1)),
    "matmul of a matrix and a vector": sample(torch.matmul, ROWS, normal(5)),
    "matmul broadcast": sample(torch.matmul, QUERY, normal(4, 3)),
    "bmm": sample(torch.bmm, TOKENS, normal(2, 8, 3)),
    "baddbmm": sample(lambda b, x, y: torch.baddbmm(b, x, y, beta=0.5, alpha=2.0),
                      normal(2, 5, 3), TOKENS, normal(2, 8, 3)),
    "addmm": sample(lambda b, x, y: torch.addmm(b, x, y), normal(3, 4), ROWS, normal(5, 4)),
    "outer": sample(torch.outer, normal(4), normal(3)),
    "einsum matmul": sample(lambda x, y: torch.einsum("bij,bjk->bik", x, y),
                            TOKENS, normal(2, 8, 3)),
    "einsum of heads": sample(lambda q, k: torch.einsum("bhid,bhjd->bhij", q, k), QUERY, KEY),
    "einsum of positions": sample(lambda x, y: torch.einsum("bhwc,hkc->bhwk", x, y),
                                  normal(1, 4, 5, 6), normal(4, 3, 6)),
    "einsum trace": sample(lambda x: torch.einsum("ij->ji", x), ROWS),
    "attention": sample(F.scaled_dot_product_attention, QUERY, KEY, VALUE),
    "attention masked": sample(
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m),
        QUERY, KEY, VALUE, normal(1, 1, 3, 5)),
    "attention with a boolean mask": sample(
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m > -0.5),
        QUERY, KEY, VALUE, normal(1, 1, 3, 5)),
    "attention scaled": sample(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.3), QUERY, KEY, VALUE),
    "attention causal": sample(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        KEY, KEY, VALUE),
    "attention by hand": sample(
        lambda q, k, v: torch.softmax(q @ k.transpose(-1, -2) * 0.5, -1) @ v, QUERY, KEY, VALUE),
    "multi-head attention": sample(Attention(), TOKENS),
    "transformer layer": sample(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu"), TOKENS),
    "lstm": sample(LastStep(nn.LSTM(8, 3, batch_first=True)), TOKENS),
    "lstm of two directions": sample(LastStep(nn.LSTM(8, 3, bidirectional=True)), TOKENS),
    "lstm of two layers": sample(LastStep(nn.LSTM(8, 3, num_layers=2)), TOKENS),
    "gru": sample(LastStep(nn.GRU(8, 3, batch_first=True)), TOKENS),
    "rnn": sample(LastStep(nn.RNN(8, 3)), TOKENS),
    "cdist": sample(lambda x, y: (x[:, None] - y[None]).square().sum(-1).sqrt(), ROWS, -ROWS),
    "pairwise distance": sample(nn.PairwiseDistance(), ROWS, -ROWS),
}  # fmt: skip

SIZES = {
    "nearest by 2": sample(lambda x: F.interpolate(x, scale_factor=2), IMAGE),
    "nearest by 1.5": sample(lambda x: F.interpolate(x, scale_factor=1.5), IMAGE),
    "nearest to a size": sample(lambda x: F.interpolate(x, size=(10, 9)), IMAGE),
    "nearest to a smaller size": sample(lambda x: F.interpolate(x, size=(3, 4)), IMAGE),
    "nearest 1d": sample(lambda x: F.interpolate(x, scale_factor=3), LINE),
    "nearest exact": sample(lambda x: F.interpolate(x, size=(3, 9), mode="nearest-exact"), IMAGE),
    "bilinear by 2": sample(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), IMAGE),
    "bilinear by 2 aligned": sample(
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True), IMAGE),
    "bilinear by 1.3": sample(lambda x: F.interpolate(x, scale_factor=1.3, mode="bilinear"), IMAGE),
    "bilinear by 1.3 recomputed": sample(
        lambda x: F.interpolate(x, scale_factor=1.3, mode="bilinear", recompute_scale_factor=True),
        IMAGE),
    "bilinear to a size": sample(lambda x: F.interpolate(x, size=(11, 9), mode="bilinear"), IMAGE),
    "bilinear to a size aligned": sample(
        lambda x: F.interpolate(x, size=(11, 9), mode="bilinear", align_corners=True), IMAGE),
    "bilinear to a smaller size": sample(
        lambda x: F.interpolate(x, size=(3, 4), mode="bilinear"), IMAGE),
    "linear 1d": sample(lambda x: F.interpolate(x, scale_factor=2, mode="linear"), LINE),
    "trilinear": sample(lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"), VOLUME),
    "bicubic": sample(lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), IMAGE),
    "grid sample": sample(lambda x, g: F.grid_sample(x, g, align_corners=False), IMAGE, GRID),
    "grid sample aligned": sample(
        lambda x, g: F.grid_sample(x, g, align_corners=True), IMAGE, GRID * 2),
    "grid sample at the border": sample(
        lambda x, g: F.grid_sample(x, g, padding_mode="border", align_corners=False),
        IMAGE, GRID * 3),
    "grid sample reflecting": sample(
        lambda x, g: F.grid_sample(x, g, padding_mode="reflection", align_corners=False),
        IMAGE, GRID * 3),
    "grid sample reflecting aligned": sample(
        lambda x, g: F.grid_sample(x, g, padding_mode="reflection", align_corners=True),
        IMAGE, GRID * 3),
    "grid sample nearest": sample(
        lambda x, g: F.grid_sample(x, g, mode="nearest", align_corners=False), IMAGE, GRID),
    "affine grid": sample(
        lambda x, m: F.grid_sample(x, F.affine_grid(m, [1, 4, 5, 6], align_corners=True),
                                   align_corners=True), IMAGE, normal(1, 2, 3)),
    "affine grid of a constant": sample(
        lambda x: F.grid_sample(x, F.affine_grid(TURN, [1, 4, 5, 6], align_corners=True),
                                align_corners=True), IMAGE),
    "pixel shuffle": sample(nn.PixelShuffle(2), IMAGE),
    "pixel unshuffle": sample(nn.PixelUnshuffle(3), normal(1, 2, 6, 9)),
    "channel shuffle": sample(nn.ChannelShuffle(2), IMAGE),
    "unfold": sample(nn.Unfold(3, stride=2, padding=1), IMAGE),
    "fold": sample(nn.Fold((4, 4), 2, stride=2), normal(1, 8, 4)),
    "pad with zeros": sample(lambda x: F.pad(x, (1, 2, 0, 3)), IMAGE),
    "pad with a constant": sample(lambda x: F.pad(x, (1, 0), value=-1.5), IMAGE),
    "pad by cropping": sample(lambda x: F.pad(x, (-1, 2)), IMAGE),
    "pad reflecting": sample(nn.ReflectionPad2d((1, 2, 3, 0)), IMAGE),
    "pad replicating": sample(nn.ReplicationPad2d((1, 2, 3, 0)), IMAGE),
    "pad circular": sample(nn.CircularPad2d((1, 2, 3, 0)), IMAGE),
    "pad 1d reflecting": sample(nn.ReflectionPad1d((2, 1)), LINE),
}  # fmt: skip

INDEXING = {
    "gather": sample(lambda x, i: x.gather(1, i.long()), ROWS, COLUMNS),
    "index select": sample(lambda x, i: x.index_select(0, i.long()), ROWS, INDICES),
    "advanced index": sample(lambda x, i: x[i.long()], ROWS, INDICES),
    "two indices": sample(lambda x, i: x[i.long(), i.long()], SQUARE, INDICES),
    "scatter": sample(lambda x, i, y: x.scatter(1, i.long(), y),
                      ROWS, DISTINCT, normal(3, 2)),
    "scatter add": sample(lambda x, i, y: x.scatter_add(1, i.long(), y),
                          ROWS, COLUMNS, normal(3, 2)),
    "index put": sample(put_column, ROWS, normal(3)),
    "embedding": sample(nn.Embedding(6, 3), whole(0, 6, 2, 4)),
    "one hot": sample(lambda i: F.one_hot(i.long(), 5), COLUMNS),
    "take along": sample(lambda x: torch.take_along_dim(x, x.argsort(1), 1), ROWS),
    "topk": sample(lambda x: x.topk(3, dim=1), ROWS),
    "topk smallest": sample(lambda x: x.topk(2, dim=0, largest=False), ROWS),
    "sort": sample(lambda x: x.sort(dim=1, descending=True), ROWS),
    "argsort": sample(lambda x: x.argsort(dim=-1), ROWS),
    "argmax": sample(lambda x: x.argmax(1), ROWS),
    "argmin": sample(lambda x: x.argmin(0, keepdim=True), ROWS),
    "cumsum": sample(lambda x: x.cumsum(1), ROWS),
    "where": sample(lambda x, y: torch.where(x > y, x, 2 * y), ROWS, -ROWS),
    "masked fill": sample(lambda x: x.masked_fill(x > 0, -1e4), ROWS),
    "triu": sample(lambda x: x.triu(1), SQUARE),
    "tril": sample(lambda x: x.tril(-1), SQUARE),
    "slice": sample(lambda x: x[:, 1:, ::2, -3:-1], IMAGE),
    "select": sample(lambda x: x[0, -1, :, 2], IMAGE),
    "slice update": sample(put_columns, ROWS, normal(3, 2)),
    "narrow": sample(lambda x: x.narrow(2, 1, 4), IMAGE),
    "chunk": sample(lambda x: x.chunk(3, dim=3), IMAGE),
    "chunk uneven": sample(lambda x: x.chunk(3, dim=2), IMAGE),
    "split": sample(lambda x: x.split([1, 4, 2], dim=2), IMAGE),
    "unbind": sample(lambda x: torch.unbind(x, 1), ROWS),
    "meshgrid": sample(lambda x, y: torch.meshgrid(x, y, indexing="ij"), normal(3), normal(4)),
    "nonzero": sample(lambda x: torch.nonzero(x > 0.5), ROWS),
    "diagonal": sample(lambda x: torch.diagonal(x), SQUARE),
}  # fmt: skip

SHAPES = {
    "reshape": sample(lambda x: x.reshape(2, -1, 7), IMAGE),
    "flatten": sample(nn.Flatten(2), IMAGE),
    "unflatten": sample(nn.Unflatten(1, (2, 2)), IMAGE),
    "view by size": sample(lambda x: x.view(x.size(0), x.size(1), -1), IMAGE),
    "permute": sample(lambda x: x.permute(0, 2, 3, 1), IMAGE),
    "transpose": sample(lambda x: x.transpose(1, -1), IMAGE),
    "squeeze": sample(lambda x: x.squeeze(0).unsqueeze(-1), IMAGE),
    "squeeze of another size": sample(lambda x: x.squeeze(1), IMAGE),
    "concat": sample(lambda x: torch.cat([x, -x[:, :1]], 1), IMAGE),
    "stack": sample(lambda x: torch.stack([x, -x], -2), ROWS),
    "expand": sample(lambda x: x[:, None].expand(3, 2, 5), ROWS),
    "repeat": sample(lambda x: x.repeat(2, 1, 3), ROWS),
    "repeat interleave": sample(lambda x: x.repeat_interleave(2, dim=1), ROWS),
    "roll": sample(lambda x: x.roll((1, -2), (2, 3)), IMAGE),
    "flip": sample(lambda x: x.flip((1, 3)), IMAGE),
    "full like": sample(lambda x: torch.full_like(x, 2.5) + x, ROWS),
    "arange of a size": sample(lambda x: x + torch.arange(x.shape[1]), ROWS),
    "tile": sample(lambda x: torch.tile(x, (2, 2)), ROWS),
    "movedim": sample(lambda x: torch.movedim(x, 1, -1), IMAGE),
}

REDUCTIONS = {
    "mean": sample(lambda x: x.mean((2, 3)), IMAGE),
    "mean of all": sample(torch.mean, IMAGE),
    "sum kept": sample(lambda x: x.sum((1, 3), keepdim=True), IMAGE),
    "product": sample(lambda x: x.prod(1), ROWS),
    "variance": sample(lambda x: x.var((2, 3)), IMAGE),
    "variance uncorrected": sample(lambda x: x.var(1, unbiased=False), ROWS),
    "variance corrected by 2": sample(lambda x: x.var(1, correction=2), ROWS),
    "standard deviation": sample(lambda x: x.std(-1, keepdim=True), IMAGE),
    "logsumexp": sample(lambda x: x.logsumexp(1), 5 * ROWS),
    "maximum of two axes": sample(lambda x: x.amax((1, 2)), IMAGE),
    "minimum": sample(lambda x: x.amin(-1), IMAGE),
    "max with indices": sample(lambda x: x.max(1), ROWS),
    "min with indices": sample(lambda x: x.min(1, keepdim=True), ROWS),
    "norm": sample(lambda x: torch.linalg.vector_norm(x, dim=1), ROWS),
    "norm of order 1": sample(lambda x: torch.norm(x, p=1, dim=1), ROWS),
    "any": sample(lambda x: (x > 1).any(1), ROWS),
    "all": sample(lambda x: (x > -1).all(1), ROWS),
    "median of sorted": sample(lambda x: x.sort(1)[0][:, 2], ROWS),
}

ARITHMETIC = {
    "add scaled": sample(lambda x, y: torch.add(x, y, alpha=2), ROWS, -ROWS),
    "subtract scaled": sample(lambda x, y: torch.sub(x, y, alpha=0.5), ROWS, -ROWS),
    "reversed subtraction": sample(lambda x: 3 - x, ROWS),
    "divide": sample(lambda x, y: x / y, ROWS, POSITIVE),
    "divide to the floor": sample(lambda x, y: torch.div(x, y, rounding_mode="floor"),
                                  SIGNED, DIVISORS),
    "divide towards zero": sample(lambda x, y: torch.div(x, y, rounding_mode="trunc"),
                                  SIGNED, DIVISORS),
    "floor divide": sample(torch.floor_divide, SIGNED, DIVISORS),
    "floor divide integers": sample(torch.floor_divide, whole(-9, 9, 6), whole(1, 4, 6)),
    "remainder": sample(torch.remainder, SIGNED, DIVISORS),
    "fmod": sample(torch.fmod, SIGNED, DIVISORS),
    "reciprocal of small numbers": sample(torch.reciprocal, TINY),
    "one over small numbers": sample(lambda x: 1.0 / x, TINY),
    "rsqrt of small numbers": sample(torch.rsqrt, TINY),
    "power": sample(lambda x: x**2.5, POSITIVE),
    "power of a scalar": sample(lambda x: 2.0**x, ROWS),
    "square root": sample(torch.sqrt, POSITIVE),
    "exponential": sample(torch.exp, ROWS),
    "expm1": sample(torch.expm1, ROWS),
    "logarithm": sample(torch.log, POSITIVE),
    "logarithm of base 2": sample(torch.log2, POSITIVE),
    "log1p": sample(torch.log1p, POSITIVE),
    "sine": sample(lambda x: torch.sin(x) + torch.cos(3 * x), ROWS),
    "trigonometry": sample(lambda x: (x.tan(), x.asin(), x.acos(), x.atan()), UNIT),
    "hyperbolic functions": sample(lambda x: (x.sinh(), x.cosh(), x.tanh(), x.atanh()), UNIT),
    "power of 2": sample(torch.exp2, ROWS),
    "arctangent of two": sample(torch.atan2, ROWS, normal(3, 5, seed=4)),
    "error function": sample(torch.erf, ROWS),
    "absolute": sample(torch.abs, ROWS),
    "sign": sample(torch.sign, SIGNED),
    "round": sample(torch.round, torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 0.7])),
    "truncate": sample(torch.trunc, SIGNED / 4),
    "ceil": sample(torch.ceil, SIGNED / 4),
    "clamp": sample(lambda x: x.clamp(-0.5, 0.7), ROWS),
    "clamp below": sample(lambda x: x.clamp(min=0.1), ROWS),
    "clamp by tensors": sample(lambda x, y: torch.clamp(x, -y, y), ROWS, POSITIVE),
    "maximum": sample(torch.maximum, ROWS, POSITIVE),
    "lerp": sample(lambda x, y: torch.lerp(x, y, 0.3), ROWS, POSITIVE),
    "addcmul": sample(lambda x, y, z: torch.addcmul(x, y, z, value=2), ROWS, ROWS, POSITIVE),
    "addcdiv": sample(lambda x, y, z: torch.addcdiv(x, y, z), ROWS, ROWS, POSITIVE),
    "comparisons": sample(lambda x, y: (x > y, x <= y, x.eq(y), x.ne(y)), ROWS, POSITIVE),
    "logic": sample(lambda x, y: ((x > 0) & (y > 0), (x > 0) | (y > 1), ~(x > 0)), ROWS, POSITIVE),
    "logical functions": sample(
        lambda x, y: (torch.logical_or(x > 0, y > 1), torch.logical_xor(x > 0, y > 1),
                      torch.logical_not(x > 0), torch.logical_and(x > 0, y > 1)),
        ROWS, POSITIVE),
    "integers": sample(lambda x, y: (x + y, x * y - 3), whole(-9, 9, 6), whole(-9, 9, 6, seed=1)),
    "to integer": sample(lambda x: x.int(), SIGNED),
    "is nan": sample(lambda x: torch.isnan(x / x), torch.tensor([0.0, 1.0])),
    "nan to number": sample(lambda x: torch.nan_to_num(x / x, 2.0), torch.tensor([0.0, 1.0])),
}  # fmt: skip
TABLES = (MATRICES, SIZES, INDEXING, SHAPES, REDUCTIONS, ARITHMETIC)
