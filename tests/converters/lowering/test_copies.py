"""How often numbers are brought into another order: what layouts cost, which no result shows."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from tests.converters.lowering.lowered import kinds, loud, lowered, normal

IMAGE = 1  # the transposition of an image, (B,C,H,W) to (B,H,W,C)


class _Attention(nn.Module):
    """Multi-head self-attention on tokens (B, N, C), spelled out."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._split(layer(x)) for layer in (self.q, self.k, self.v))
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(x.shape))

    def _split(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        return x.reshape(b, n, self.heads, c // self.heads).transpose(1, 2)


class _Stage(nn.Module):
    """A convolution, then blocks on what `to_tokens` makes of the map, a convolution behind."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.norm = nn.LayerNorm(12)
        self.block = block
        self.head = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.from_tokens(self.tokens(self.to_tokens(self.stem(x))))
        return self.head(x).mean((2, 3))

    def tokens(self, x: Tensor) -> Tensor:
        return x + self.block(self.norm(x))

    def to_tokens(self, x: Tensor) -> Tensor:
        self.sizes = x.shape
        return x.flatten(2).transpose(1, 2)

    def from_tokens(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).reshape(self.sizes)


class _Windows(_Stage):
    """Windows of 2x3 pixels, each a batch entry of its own."""

    def to_tokens(self, x: Tensor) -> Tensor:
        self.sizes = x.shape
        b, c, h, w = x.shape
        x = x.reshape(b, c, h // 2, 2, w // 3, 3).permute(0, 2, 4, 3, 5, 1)
        return x.reshape(-1, 6, c)

    def from_tokens(self, x: Tensor) -> Tensor:
        b, c, h, w = self.sizes
        x = x.reshape(b, h // 2, w // 3, 2, 3, c).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(b, c, h, w)


class _Unfolded(_Stage):
    """MobileViT's patches of 2x2 pixels: attention between the pixels of one place in them."""

    def to_tokens(self, x: Tensor) -> Tensor:
        self.sizes = x.shape
        b, c, h, w = x.shape
        x = x.reshape(b * c * h // 2, 2, w // 2, 2).transpose(1, 2)
        x = x.reshape(b, c, h * w // 4, 4).transpose(1, 3)
        return x.reshape(b * 4, h * w // 4, c)

    def from_tokens(self, x: Tensor) -> Tensor:
        b, c, h, w = self.sizes
        x = x.reshape(b, 4, h * w // 4, c).transpose(1, 3)
        x = x.reshape(b * c * h // 2, w // 2, 2, 2).transpose(1, 2)
        return x.reshape(b, c, h, w)


def _copies(stage: nn.Module, batch: int = 1) -> Counter[str]:
    found = kinds(lowered(loud(stage), normal(batch, 3, 4, 6)))
    assert not found["slice"] and not found["pad"] and not found["concatenate"]
    return found


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("form", [_Stage, _Windows, _Unfolded])
@pytest.mark.parametrize("layers", [1, 2])
def test_attention_turns_q_k_v_and_its_result(form: type[_Stage], layers: int, batch: int) -> None:
    """Tokens, windows and patches cost nothing of their own."""
    block = nn.Sequential(*(_Attention(12, 3) for _ in range(layers)))
    assert _copies(form(block), batch)["transpose"] == IMAGE + 4 * layers


@pytest.mark.parametrize("form", [_Stage, _Windows])
def test_one_head_turns_nothing(form: type[_Stage]) -> None:
    assert _copies(form(_Attention(12, 1)))["transpose"] == IMAGE + (form is _Windows) * 4


class _MultiQuery(nn.Module):
    """Heads of queries on one head of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.out = nn.Linear(12, 12), nn.Linear(12, 12)
        self.k, self.v = nn.Linear(12, 4), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q = self.q(x).reshape(b, n, 3, 4).transpose(1, 2)
        k, v = self.k(x).unsqueeze(1), self.v(x).unsqueeze(1)
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(b, n, c))


def test_heads_of_queries_are_rows_of_one_product() -> None:
    assert _copies(_Stage(_MultiQuery()), 2)["transpose"] == IMAGE


class _WithLocal(_Attention):
    """EfficientFormer v2: a convolution of the values is added to what attention makes of them."""

    def __init__(self) -> None:
        super().__init__(12, 3)
        self.local = nn.Conv2d(12, 12, 3, padding=1, groups=12)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._split(layer(x)) for layer in (self.q, self.k, self.v))
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        y, values = (one.transpose(2, 3).reshape(-1, 12, 4, 6) for one in (y, v))
        return self.out((y + self.local(values)).flatten(2).transpose(1, 2))


def test_a_sum_has_the_order_of_a_map_if_one_operand_has() -> None:
    assert _copies(_Stage(_WithLocal()))["transpose"] == IMAGE + 4


class _CrossCovariance(nn.Module):
    """XCA: attention between channels (El-Nouby et al., 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(12, 12) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = (f(x).reshape(b, n, 3, 4).permute(0, 2, 3, 1) for f in (self.q, self.k, self.v))
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.out(y.permute(0, 3, 1, 2).reshape(b, n, c))


def test_cross_covariance_turns_q_k_v_and_its_result() -> None:
    assert _copies(_Stage(_CrossCovariance()))["transpose"] == IMAGE + 4


class _MapAttention(nn.Module):
    """EfficientViT's, one head on a map: v (d, N) times attention^T (Liu et al., 2023)."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Conv2d(12, 4, 1), nn.Conv2d(12, 4, 1), nn.Conv2d(12, 12, 1)
        self.local = nn.Conv2d(4, 4, 3, padding=1, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.local(self.q(x)).flatten(2), self.k(x).flatten(2), self.v(x).flatten(2)
        weights = (q.transpose(-2, -1) @ k).softmax(-1)
        return (v @ weights.transpose(-2, -1)).reshape(x.shape)


def test_attention_on_a_map_turns_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(3, 12, 3), _MapAttention(), nn.Conv2d(12, 4, 3))
    program = lowered(loud(network), normal(2, 3, 8, 9))
    assert kinds(program) == {
        "transpose": IMAGE + 1, "conv2d": 5, "depthwise_conv2d": 1, "reshape": 4,
        "batch_matmul": 2, "softmax": 1,
    }  # fmt: skip


def test_a_softmax_decides_which_operand_is_the_left_one() -> None:
    """The product is turned for a softmax over its rows, rather than its result twice."""
    program = lowered(lambda x, y: (x @ y.transpose(1, 2) * 2).softmax(1).exp(),
                      normal(2, 4, 5), normal(2, 6, 5))  # fmt: skip
    first = program.operations[0]
    assert first.kind == "batch_matmul" and first.inputs[0] is program.inputs[1]
    assert kinds(program)["transpose"] == 1  # the output's


def test_patch_merging_is_one_copy() -> None:
    conv = nn.Conv2d(3, 4, 1)

    def merged(x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        y = conv(x).permute(0, 2, 3, 1)
        y = y.reshape(b, h // 2, 2, w // 2, 2, 4).permute(0, 1, 3, 4, 2, 5).flatten(3)
        return y.exp()

    assert kinds(lowered(merged, normal(2, 3, 4, 6)))["transpose"] == IMAGE + 1


def test_maps_of_one_channel_are_joined_as_maps() -> None:
    """CBAM's attention to positions: a convolution of the mean and the largest of all channels."""
    conv = loud(nn.Conv2d(2, 1, 7, padding=3))
    stem = loud(nn.Conv2d(3, 12, 1))

    def function(x: Tensor) -> Tensor:
        y = stem(x)
        joined = torch.cat((y.mean(1, keepdim=True), y.amax(1, keepdim=True)), 1)
        return (y * conv(joined).sigmoid()).mean((2, 3))

    assert kinds(lowered(function, normal(2, 3, 8, 9)))["transpose"] == IMAGE


def test_the_smaller_of_two_is_copied() -> None:
    def function(x: Tensor, y: Tensor) -> Tensor:
        return x.permute(1, 0, 2).reshape(24, 50) * y.permute(1, 0, 2).reshape(24, 1)

    for turned in (False, True):
        operands = [normal(6, 4, 50), normal(4, 6, 1)]
        program = lowered(lambda a, b, t=turned: function(b, a) if t else function(a, b),
                          *(reversed(operands) if turned else operands))  # fmt: skip
        copied = next(one for one in program.operations if one.kind == "transpose")
        assert copied.output.shape == (6, 4)


def test_copies_along_an_axis_are_made_by_a_small_constant() -> None:
    program = lowered(lambda x: torch.cat((x.expand(20, 30, 40), x.expand(20, 1, 40)), 1),
                      normal(20, 1, 1))  # fmt: skip
    assert max(one.data.size for one in program.constants()) == 40  # type: ignore[union-attr]


def test_reshapes_between_are_free() -> None:
    """Numbers that lie in order are only looked at in another way, never copied for it."""

    def function(x: Tensor) -> Tensor:
        y = x.reshape(2, 12, 5).sigmoid().reshape(2, 3, 4, 5).permute(0, 2, 3, 1).tanh()
        return y.permute(0, 3, 1, 2).flatten(1, 2).exp()

    program = lowered(function, normal(2, 3, 20))
    assert [one.kind for one in program.operations] == ["sigmoid", "tanh", "exp", "reshape"]
    assert torch.Size(program.outputs["y0"].shape) == (2, 12, 5)
